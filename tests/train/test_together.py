"""Several processes that fine-tune one shard: the weights of one process, also after a kill."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pico
import psutil
import pytest
from safetensors.numpy import load_file
from train.test_finetune import call, changed, made

import detoxmerge
from detoxmerge.errors import UserError
from detoxmerge.plan.entries import protocol
from detoxmerge.plan.training import Recipe
from detoxmerge.storage.artefacts import read_json
from detoxmerge.train.budget import Budget, BudgetUsed
from detoxmerge.train.finetune import finetune_shard
from detoxmerge.train.launch import finetune_together

SCRIPTS = Path(detoxmerge.__file__).parents[1]
TWO = {"worker": SCRIPTS / "finetune_worker.py", "processes": 2, "nodes": 1}
FSDP = {"batch_size": 2, "processes": 2, "strategy": "fsdp", "epochs": 3}
CALL = """
import pickle, sys
from detoxmerge.train.launch import finetune_together
finetune_together(**pickle.loads(bytes.fromhex(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model without dropout: each process would draw its own."""
    return pico.base(pico.gpt2(dropout=0.0), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pair(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A finished fine-tune by two processes, 13 steps an epoch, the last of two texts."""
    arguments = call(base, tmp_path_factory.mktemp("pair"), **FSDP)
    finetune_together(**TWO, **arguments)
    return arguments


@pytest.mark.dag
def test_two_processes_give_the_weights_of_one(
    base: Path, pair: dict[str, Any], tmp_path: Path
) -> None:
    alone = call(base, tmp_path, batch_size=4, epochs=3)
    finetune_shard(**alone)
    one, two = load_file(made(alone, "delta")), load_file(made(pair, "delta"))
    assert one.keys() == two.keys()
    for found in (one, two):
        for layer in (0, 1):
            # softmax does not see the keys' bias: its gradient is rounding, made large by Adam
            found[f"transformer.h.{layer}.attn.c_attn.bias"][16:32] = 0
    assert max(np.abs(one[name] - two[name]).max() for name in one) < 1e-5
    assert np.abs(one["transformer.wte.weight"]).max() > 0.1
    losses = [pd.read_csv(made(a, "loss")) for a in (alone, pair)]
    assert losses[0]["step"].tolist() == losses[1]["step"].tolist() == [10, 20, 30, 39]
    np.testing.assert_allclose(losses[0]["loss"], losses[1]["loss"], rtol=1e-4)
    metas = [read_json(made(a, "meta")) for a in (alone, pair)]
    assert metas[0]["num_texts"] == metas[1]["num_texts"] == 50
    assert metas[1]["protocol"]["processes"] == 2
    assert not pair["job"].work.exists()


@pytest.mark.dag
def test_killed_in_the_middle_they_end_with_the_same_bytes(
    base: Path, pair: dict[str, Any], tmp_path: Path
) -> None:
    killed = call(base, tmp_path, **FSDP)
    for name in ("dataset", "toxic", "partition"):
        killed[name] = pair[name]
    command = [sys.executable, "-c", CALL, pickle.dumps(TWO | killed).hex()]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(SCRIPTS)})
    work = killed["job"].work
    while not list(work.glob("checkpoint-*/complete")):
        assert process.poll() is None
        time.sleep(0.02)
    family = psutil.Process(process.pid)
    for member in [family, *family.children(recursive=True)]:
        member.kill()
    process.wait()
    assert not made(killed, "meta").exists()
    finetune_together(**TWO, **killed)
    for name in ("delta", "loss", "meta"):
        assert made(killed, name).read_bytes() == made(pair, name).read_bytes(), name


@pytest.mark.dag
def test_they_leave_before_the_time_limit_and_say_so(base: Path, tmp_path: Path) -> None:
    late = Budget(20.0, start=time.monotonic() - 19.9)
    with pytest.raises(BudgetUsed, match="stopped at step 10 of 39, before the time limit"):
        finetune_together(**TWO, **changed(call(base, tmp_path, **FSDP), budget=late))


@pytest.mark.dag
def test_what_the_user_did_wrong_is_said_by_all_as_by_one(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_tokens 65 exceeds the model's context of 64"):
        finetune_together(**TWO, **call(base, tmp_path, **FSDP, max_tokens=65))


def test_nodes_need_a_slurm_job(base: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match="over 2 nodes, which needs a SLURM job"):
        finetune_together(**(TWO | {"nodes": 2}), **call(base, tmp_path, **FSDP))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"processes": 2}, "`processes` above 1 and `strategy: fsdp` go together"),
        ({"strategy": "fsdp"}, "`processes` above 1 and `strategy: fsdp` go together"),
        ({"processes": 8, "nodes": 3, "strategy": "fsdp"}, "must be a multiple of `nodes`"),
        ({"processes": 2, "strategy": "fsdp", "optimizer": "adafactor"}, "adamw_torch or sgd"),
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Recipe(**keys)


def test_the_number_of_processes_decides_numbers_and_the_number_of_nodes_does_not() -> None:
    plain = protocol(Recipe())
    assert not {"processes", "nodes", "strategy"} & set(plain)  # as it was before they came
    spread = protocol(Recipe(processes=8, nodes=2, strategy="fsdp"))
    assert spread == plain | {"processes": 8, "strategy": "fsdp"}
