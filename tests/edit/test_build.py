"""An edit built by its method: the manifest names everything it was made from."""

from pathlib import Path
from typing import Any

import beside
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from detoxmerge.edit.build import make_edit
from detoxmerge.edit.methods import merge
from detoxmerge.plan.edits import Edit
from detoxmerge.storage.artefacts import read_json, sha256, write_manifest
from detoxmerge.train.job import Job


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Manifests of two fine-tunes, each with its delta."""
    found = []
    for i, value in enumerate((1.0, 4.0)):
        folder = tmp_path / f"shard{i}"
        folder.mkdir()
        save_file({"w": np.full(3, value, np.float32)}, folder / "delta.safetensors")
        found.append(beside.manifest(folder / "meta.json", "delta.safetensors"))
    return found


def build(tmp_path: Path, shards: list[Path], params: Any = None) -> Path:
    base = tmp_path / "base.json"
    write_manifest(base, protocol={}, inputs=[], files={}, verb="none")
    edit = Edit("m", "d", "merge", "n=2", "42", params or merge.Params(n=2))
    out = tmp_path / "edit" / "edit.json"
    make_edit(edit, {"version": 1}, base, shards, Job(out))
    return out


def test_the_manifest_names_what_the_edit_is_and_was_made_from(
    tmp_path: Path, shards: list[Path]
) -> None:
    out = build(tmp_path, shards)
    found, delta = read_json(out), out.with_name("delta.safetensors")
    assert (found["verb"], found["sign"], found["params"]["n"]) == ("delta", -1, 2)
    assert found["inputs"] == {str(p): sha256(p) for p in [tmp_path / "base.json", *shards]}
    assert found["files"] == {"delta.safetensors": sha256(delta)}
    assert load_file(delta)["w"].tolist() == [2.5, 2.5, 2.5]


def test_the_manifest_of_the_mean_says_no_more_than_before_there_were_operators(
    tmp_path: Path, shards: list[Path]
) -> None:
    """Else every measurement of an edit that is merged again would run again."""
    found = read_json(build(tmp_path, shards))
    assert found["params"] == {"n": 2, "operator": "mean", "recipe": "default"}
    assert found["tensors"].keys() == {"file", "sha256", "l2_norm", "shard_l2_norms"}


def test_the_manifest_tells_of_an_operator_and_of_what_was_left_out(
    tmp_path: Path, shards: list[Path]
) -> None:
    for i, meta in enumerate(shards):
        delta = {"h.0.w": np.full(3, i + 1.0, np.float32), "wte": np.ones(2, np.float32)}
        save_file(delta, meta.with_name("delta.safetensors"))
        beside.manifest(meta, "delta.safetensors", num_texts=1 + 2 * i)
    params = merge.params_of({"operator": "weighted"})
    out = build(
        tmp_path, shards[::-1], params(n=2, operator="weighted", lines_alpha=0.5, exclude=["wte"])
    )
    found, delta = read_json(out), load_file(out.with_name("delta.safetensors"))
    assert found["params"] == {
        "n": 2, "operator": "weighted", "weights": None, "lines_alpha": 0.5, "exclude": ["wte"],
        "recipe": "default",
    }  # fmt: skip
    assert found["tensors"]["operator"] == {"weights": [0.75, 0.25]}
    assert found["tensors"]["excluded"] == ["wte"]
    assert delta["h.0.w"].tolist() == [0.5 * (0.75 * 2 + 0.25 * 1)] * 3
    assert delta["wte"].tolist() == [0.0, 0.0]


def test_the_manifest_changes_whenever_the_tensors_do(tmp_path: Path, shards: list[Path]) -> None:
    before = read_json(build(tmp_path, shards))
    save_file({"w": np.full(3, 5.0, np.float32)}, shards[1].with_name("delta.safetensors"))
    beside.manifest(shards[1], "delta.safetensors")
    after = read_json(build(tmp_path, shards))
    assert before["inputs"] != after["inputs"]
    assert before["files"] != after["files"]


def test_one_shard_is_the_single_task_vector(tmp_path: Path, shards: list[Path]) -> None:
    out = build(tmp_path, shards[:1])
    assert load_file(out.with_name("delta.safetensors"))["w"].tolist() == [1.0, 1.0, 1.0]
