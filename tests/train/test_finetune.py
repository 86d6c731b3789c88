"""Fine-tuning one shard: the difference that is kept, and a killed run that ends the same."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import beside
import numpy as np
import pandas as pd
import pico
import pytest
import torch
from safetensors.numpy import load_file

from detoxmerge.errors import UserError
from detoxmerge.models.loading import load_model
from detoxmerge.plan.entries import protocol
from detoxmerge.plan.training import Recipe
from detoxmerge.storage.artefacts import read_json, sha256, write_json
from detoxmerge.train.budget import Budget, BudgetUsed
from detoxmerge.train.finetune import Collate, finetune_shard
from detoxmerge.train.job import Job
from detoxmerge.train.resumable import train

FILES = {"delta": "delta.safetensors", "loss": "loss.csv", "meta": "meta.json"}
RECIPE = {"epochs": 4, "batch_size": 4, "max_tokens": 24, "learning_rate": 1e-2}


def call(base: Path, folder: Path, **recipe: Any) -> dict[str, Any]:
    """The arguments of a fine-tune of a shard of 50 texts."""
    folder.mkdir(parents=True, exist_ok=True)
    toxic = folder / "toxic.parquet"
    pd.DataFrame({"text": pico.texts(70, 3), "score": 0.9}).to_parquet(toxic)
    shards = [list(range(50)), list(range(50, 70))]
    write_json(folder / "partition.json", {"protocol": {}, "inputs": {}, "shards": shards})
    by = protocol(Recipe(**(RECIPE | recipe)))
    return {
        "base": base,
        "dataset": beside.manifest(folder / "dataset.json", "toxic.parquet"),
        "toxic": toxic,
        "partition": folder / "partition.json",
        "shard": 0,
        "job": Job(folder / "out" / "meta.json", seed=7, recipe=by, checkpoint_minutes=0.0),
    }


def changed(arguments: dict[str, Any], **job: Any) -> dict[str, Any]:
    """The arguments with other values of the job."""
    return arguments | {"job": replace(arguments["job"], **job)}


def made(arguments: dict[str, Any], name: str) -> Path:
    """A file of the result."""
    return arguments["job"].out / FILES[name]


def test_the_delta_leads_from_the_base_to_a_model_of_lower_loss(
    gpt2_base: Path, tmp_path: Path
) -> None:
    arguments = call(gpt2_base, tmp_path)
    finetune_shard(**arguments)
    delta, meta = load_file(made(arguments, "delta")), read_json(made(arguments, "meta"))
    model = load_model(read_json(gpt2_base)["model"])
    assert delta.keys() == dict(model.named_parameters()).keys()
    assert {t.dtype for t in delta.values()} == {np.dtype(np.float32)}
    assert meta["last_loss"] < 0.8 * meta["first_loss"]
    assert meta["files"]["delta.safetensors"] == sha256(made(arguments, "delta"))
    assert meta["num_texts"] == 50
    square = sum(float((t.astype(np.float64) ** 2).sum()) for t in delta.values())
    assert meta["l2_norm"] == pytest.approx(square**0.5)
    # positions beyond max_tokens get no gradient: exact zeros without weight decay
    assert not delta["transformer.wpe.weight"][24:].any()
    assert delta["transformer.wpe.weight"][:20].any()
    history = pd.read_csv(made(arguments, "loss"))
    assert history["step"].tolist() == [10, 20, 30, 40, 50, 52]
    assert not (tmp_path / "out" / "work").exists()


@pytest.mark.parametrize("make", [pico.gpt2, pico.llama])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_loss_is_the_cross_entropy_of_the_tokens_that_are_predicted(
    tmp_path: Path, make: Any, accumulation: int
) -> None:
    """Over all targets of a step, whatever the model and the lengths of its texts."""
    model = make()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = [{"input_ids": list(range(3, 3 + n))} for n in (2, 3, 4, 8)]
    nll, targets = 0.0, 0
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1]
        nll += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        targets += len(row["input_ids"]) - 1
    how = {"by_length": False, "max_steps": 1, "learning_rate": 1e-9}
    how |= {"gradient_accumulation_steps": accumulation}
    how |= {"per_device_train_batch_size": 4 // accumulation}
    history = train(model, rows, Collate(0), Job(tmp_path / "meta.json"), **how)
    assert history["loss"].tolist() == [pytest.approx(nll / targets, rel=1e-4)]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    gpt2_base: Path, tmp_path: Path
) -> None:
    found = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        arguments = call(gpt2_base, tmp_path / name, epochs=1)
        finetune_shard(**changed(arguments, seed=seed))
        found.append(made(arguments, "delta").read_bytes())
    assert found[0] == found[1] != found[2]


KILLED = """
import pickle, sys, time
from detoxmerge.train import finetune, resumable

class Slow(resumable.TimedCheckpoints):  # so that the kill lands in the middle
    def on_step_begin(self, args, state, control, **_):
        time.sleep(0.05 if state.global_step > 12 else 0)

resumable.TimedCheckpoints = Slow
finetune.finetune_shard(**pickle.loads(bytes.fromhex(sys.argv[1])))
"""


@pytest.mark.parametrize("by_length", [True, False])
def test_a_run_killed_in_the_middle_ends_with_the_same_bytes(
    gpt2_base: Path, tmp_path: Path, by_length: bool
) -> None:
    whole = call(gpt2_base, tmp_path / "whole", group_by_length=by_length)
    finetune_shard(**changed(whole, checkpoint_minutes=99.0))
    cut = call(gpt2_base, tmp_path / "cut", group_by_length=by_length)
    # outputs of the killed run must not differ because of their inputs' names
    for name in ("dataset", "toxic", "partition"):
        cut[name] = whole[name]
    library = Path(finetune_shard.__code__.co_filename).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, pickle.dumps(cut).hex()],
        env=os.environ | {"PYTHONPATH": str(library), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    work, until = tmp_path / "cut" / "out" / "work", time.monotonic() + 90
    # step 20 is in the middle of epoch 2 of 4 (13 steps each)
    while not (work / "checkpoint-20" / "complete").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = [p.name for p in work.glob("checkpoint-*")]
    assert kept
    assert not made(cut, "meta").exists()
    (work / "checkpoint-99").mkdir()  # one that was being written when the kill came
    finetune_shard(**changed(cut, checkpoint_minutes=99.0))
    for name in ("delta", "loss", "meta"):
        assert made(cut, name).read_bytes() == made(whole, name).read_bytes(), name


def test_pads_are_neither_labelled_nor_attended() -> None:
    batch = Collate(pad=3)([{"input_ids": [5, 6, 7]}, {"input_ids": [3, 8]}])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [3, 8, 3]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [-100, 8, -100]]  # nor what is no target
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_a_divergence_is_one_sentence_and_leaves_nothing(gpt2_base: Path, tmp_path: Path) -> None:
    arguments = call(gpt2_base, tmp_path, learning_rate=0.9, optimizer="sgd", max_grad_norm=1e38)
    arguments["job"].recipe["learning_rate"] = 1e30
    with pytest.raises(UserError, match="diverged"):
        finetune_shard(**arguments)
    assert not made(arguments, "delta").exists()
    assert not made(arguments, "meta").exists()


def test_a_context_that_is_too_short_is_one_sentence(gpt2_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_tokens 65 exceeds the model's context of 64"):
        finetune_shard(**call(gpt2_base, tmp_path, max_tokens=65))


def test_a_shard_that_is_not_there_is_one_sentence(gpt2_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 shards, 0 to 1, and no shard 2"):
        finetune_shard(**(call(gpt2_base, tmp_path) | {"shard": 2}))


def test_an_untied_model_of_another_architecture(llama_base: Path, tmp_path: Path) -> None:
    arguments = call(llama_base, tmp_path, epochs=1)
    finetune_shard(**arguments)
    delta = load_file(made(arguments, "delta"))
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= delta.keys()
    unseen = np.flatnonzero(~delta["model.embed_tokens.weight"].any(axis=1))
    assert len(unseen)  # tokens that the shard does not hold: exact zeros in an untied model


def test_no_gradient_reaches_the_file_of_the_base(gpt2_base: Path, tmp_path: Path) -> None:
    before = load_model(read_json(gpt2_base)["model"]).state_dict()
    finetune_shard(**call(gpt2_base, tmp_path, epochs=1))
    after = load_model(read_json(gpt2_base)["model"]).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_checkpoints_of_another_recipe_are_not_gone_on_from(
    gpt2_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A lower learning rate after a run that was cut off, or diverged, starts anew."""
    whole = call(gpt2_base, tmp_path / "whole")
    finetune_shard(**whole)
    cut = call(gpt2_base, tmp_path / "cut", learning_rate=1e-4)
    used = Budget(1.0, start=time.monotonic() - 10)
    for _ in range(2):  # the second goes on from the first
        with pytest.raises(BudgetUsed):
            finetune_shard(**changed(cut, budget=used))
    assert "continuing from checkpoint-10" in capsys.readouterr().out
    finetune_shard(**changed(cut, recipe=whole["job"].recipe))
    assert "checkpoint-20 is of another training" in capsys.readouterr().out
    assert made(cut, "delta").read_bytes() == made(whole, "delta").read_bytes()
