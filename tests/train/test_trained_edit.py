"""Edits that are trained: up and down the loss, cut off and gone on, and what the manifest says."""

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

from detoxmerge.edit.build import make_edit
from detoxmerge.edit.edited import load_edited
from detoxmerge.errors import UserError
from detoxmerge.plan.edits import Edit
from detoxmerge.plan.entries import protocol
from detoxmerge.plan.registry import METHODS
from detoxmerge.plan.training import Recipe
from detoxmerge.storage.artefacts import read_json, sha256
from detoxmerge.train.budget import Budget, BudgetUsed
from detoxmerge.train.job import Job
from detoxmerge.train.trained_edit import trained_edit

RECIPE = {"epochs": 4, "batch_size": 4, "max_tokens": 24, "learning_rate": 1e-3}
TEXTS = pico.texts(50, 3)


def recipe(**changes: Any) -> dict[str, Any]:
    """The protocol of a recipe."""
    return protocol(Recipe(**(RECIPE | changes)))


def dataset(folder: Path) -> Path:
    """Manifest of 50 toxic and 60 other texts."""
    folder.mkdir(parents=True)
    pd.DataFrame({"text": TEXTS, "score": 0.9}).to_parquet(folder / "toxic.parquet")
    others = pd.DataFrame({"text": pico.texts(60, 8), "score": 0.1})
    others.to_parquet(folder / "nontoxic.parquet")
    return listed(folder / "dataset.json")


def listed(data: Path) -> Path:
    """The manifest of the two files as they are now."""
    return beside.manifest(data, "toxic.parquet", "nontoxic.parquet", counts={"num_toxic": 50})


def call(base: Path, data: Path, out: Path, method: str, **changes: Any) -> dict[str, Any]:
    """Arguments of `make_edit` for the default setting of a method."""
    edit = Edit("m", "d", method, "default", "7", METHODS[method].Params())
    return {
        "edit": edit,
        "protocol": {"version": 1, "recipe": recipe(**changes)},
        "base": base,
        "inputs": [base, data],
        "job": Job(out / "edit.json"),
    }


def mean_loss(model: Any, texts: list[str]) -> float:
    """Cross-entropy per text, no dropout."""
    tokenizer, losses = pico.tokenizer(), []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"][:24]])
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=ids).loss.item())
    return float(np.mean(losses))


@pytest.mark.parametrize(("method", "rises"), [("gradient_ascent", True), ("finetune_nontoxic", 0)])
def test_the_loss_rises_under_ascent_and_falls_under_descent(
    gpt2_base: Path, tmp_path: Path, method: str, rises: bool
) -> None:
    data, out = dataset(tmp_path / "data"), tmp_path / "out"
    make_edit(**call(gpt2_base, data, out, method))
    found, history = read_json(out / "edit.json"), pd.read_csv(out / "loss.csv")
    training = found["training"]
    assert found["sign"] == 1
    assert training["num_texts"] == 50
    assert (training["first_loss"], training["last_loss"]) == (
        history["loss"].iloc[0], history["loss"].iloc[-1],
    )  # fmt: skip
    assert training["loss"] == {"file": "loss.csv", "sha256": sha256(out / "loss.csv")}
    assert (training["last_loss"] > training["first_loss"]) == rises
    assert training["first_loss"] > 0  # the loss itself, not its negative
    texts = TEXTS if rises else pico.texts(60, 8)
    losses = [mean_loss(load_edited(out / "edit.json", s), texts[:20]) for s in (0, 0.5, 1)]
    assert (losses == sorted(losses)) == rises
    assert (losses == sorted(losses, reverse=True)) == (not rises)


def test_the_first_step_of_ascent_is_minus_that_of_descent(gpt2_base: Path, tmp_path: Path) -> None:
    found = []
    for sign in (1, -1):
        out = tmp_path / f"sign{sign}"
        sgd = {"optimizer": "sgd", "max_grad_norm": 1e9, "learning_rate": 0.1}
        once = recipe(epochs=1, batch_size=50, **sgd)
        trained_edit(gpt2_base, TEXTS, Job(out / "edit.json", seed=3, recipe=once), sign=sign)
        found.append(load_file(out / "delta.safetensors"))
    down, up = found
    assert any(tensor.any() for tensor in down.values())
    for name in down:  # but for the rounding of theta +- the step
        np.testing.assert_allclose(up[name], -down[name], atol=1e-7)


def test_a_loss_without_bound_is_kept_and_weights_that_are_not_finite_are_not(
    gpt2_base: Path, tmp_path: Path
) -> None:
    data = dataset(tmp_path / "data")
    kept = call(gpt2_base, data, tmp_path / "kept", "gradient_ascent", learning_rate=0.5)
    make_edit(**kept)
    assert read_json(kept["job"].manifest)["training"]["last_loss"] > 100
    wild = {"optimizer": "sgd", "max_grad_norm": 1e38, "learning_rate": 0.9}
    lost = call(gpt2_base, data, tmp_path / "lost", "gradient_ascent", **wild)
    lost["protocol"]["recipe"]["learning_rate"] = 1e30
    with pytest.raises(UserError, match=r"training diverged: .* NaN or infinity; lower learning_r"):
        make_edit(**lost)
    assert not lost["job"].manifest.exists()
    assert not lost["job"].manifest.with_name("delta.safetensors").exists()


KILLED = """
import pickle, sys, time
from dataclasses import replace
from detoxmerge.edit.build import make_edit
from detoxmerge.train import resumable

class Slow(resumable.TimedCheckpoints):  # so that the kill lands in the middle
    def on_step_begin(self, args, state, control, **_):
        time.sleep(0.05 if state.global_step > 12 else 0)

resumable.TimedCheckpoints = Slow
arguments = pickle.loads(bytes.fromhex(sys.argv[1]))
arguments["job"] = replace(arguments["job"], checkpoint_minutes=0.0)
make_edit(**arguments)
"""


def test_a_run_killed_in_the_middle_ends_with_the_same_bytes(
    gpt2_base: Path, tmp_path: Path
) -> None:
    data, method = dataset(tmp_path / "data"), "gradient_ascent"
    whole, cut = (call(gpt2_base, data, tmp_path / name, method) for name in ("whole", "cut"))
    make_edit(**whole)
    library = Path(make_edit.__code__.co_filename).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, pickle.dumps(cut).hex()],
        env=os.environ | {"PYTHONPATH": str(library), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    work, until = tmp_path / "cut" / "work", time.monotonic() + 90
    while not (work / "checkpoint-20" / "complete").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(work.glob("checkpoint-*/complete"))
    assert not cut["job"].manifest.exists()
    make_edit(**cut)
    for name in ("delta.safetensors", "loss.csv", "edit.json"):
        ours, theirs = (one["job"].manifest.with_name(name).read_bytes() for one in (cut, whole))
        assert ours == theirs, name
    assert not work.exists()


def test_a_method_leaves_before_its_time_is_used_up_and_goes_on(
    gpt2_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = dataset(tmp_path / "data")
    whole, cut = (
        call(gpt2_base, data, tmp_path / name, "gradient_ascent") for name in ("whole", "cut")
    )
    make_edit(**whole)
    late = replace(cut["job"], budget=Budget(1.0, start=time.monotonic() - 10))
    with pytest.raises(BudgetUsed, match="stopped at step 10 of 52"):
        make_edit(**(cut | {"job": late}))
    assert not cut["job"].manifest.exists()
    capsys.readouterr()
    make_edit(**cut)
    assert "continuing from checkpoint-10" in capsys.readouterr().out
    assert cut["job"].manifest.read_bytes() == whole["job"].manifest.read_bytes()


def test_the_manifest_changes_with_the_texts(gpt2_base: Path, tmp_path: Path) -> None:
    data, found = dataset(tmp_path / "data"), []
    for rows in (50, 40):
        toxic = pd.DataFrame({"text": TEXTS[:rows], "score": 0.9})
        toxic.to_parquet(data.with_name("toxic.parquet"))
        listed(data)
        arguments = call(gpt2_base, data, tmp_path / "out", "gradient_ascent", epochs=1)
        make_edit(**arguments)
        found.append(read_json(arguments["job"].manifest))
    assert found[0]["inputs"] != found[1]["inputs"]
    assert found[0]["files"] != found[1]["files"]
    assert found[0]["training"]["loss"] != found[1]["training"]["loss"]
