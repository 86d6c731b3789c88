"""Which files of a folder are a model: names alone, and a sentence where it cannot be told."""

from pathlib import Path
from typing import Any

import pytest

from detoxmerge.errors import UserError
from detoxmerge.plan.local import FINE_TUNE_FILES, TOKENIZER_FILES, LocalPath, deciding_files
from detoxmerge.plan.weight_names import WeightNames, weight_names
from detoxmerge.storage.artefacts import write_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PARTS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
FOREIGN = [
    "model.fp16.safetensors", "model.safetensors.index.fp16.json", "consolidated.safetensors",
    "value_head.safetensors", "adapter_model.safetensors", "optimizer.safetensors",
    "pytorch_model.bin", "original/consolidated.safetensors",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config, and files that are no part of any model."""
    write_json(tmp_path / "config.json", {})
    (tmp_path / "original").mkdir()
    for name in FOREIGN:
        (tmp_path / name).touch()
    return tmp_path


def index(folder: Path, names: list[Any], file: str = INDEX) -> None:
    write_json(folder / file, {"metadata": {}, "weight_map": dict(enumerate(names))})


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        weight_names(folder, "base")
    assert str(error.value).startswith("base: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_single_file_comes_before_an_index(folder: Path) -> None:
    (folder / SINGLE).touch()
    index(folder, PARTS)
    assert weight_names(folder, "base") == WeightNames([SINGLE])


def test_of_an_index_only_what_it_names(folder: Path) -> None:
    (folder / "model-00003-of-00003.safetensors").touch()
    index(folder, [PARTS[1], PARTS[0], f"./{PARTS[1]}", "sub/more.safetensors"])
    found = weight_names(folder, "base")
    assert found == WeightNames([*PARTS, "sub/more.safetensors"], INDEX, frozenset("0123"))


@pytest.mark.parametrize("key", ["own.safetensors", "sub/own.safetensors"])
def test_a_config_may_name_the_file_itself(folder: Path, key: str) -> None:
    write_json(folder / "config.json", {"transformers_weights": key})
    (folder / SINGLE).touch()
    assert weight_names(folder, "base") == WeightNames([key])


def test_a_config_may_name_the_index_itself(folder: Path) -> None:
    own = "own.safetensors.index.json"
    write_json(folder / "config.json", {"transformers_weights": own})
    (folder / SINGLE).touch()
    assert "own.safetensors.index.json' is missing" in refused(folder)
    index(folder, PARTS, own)
    assert weight_names(folder, "base").files == PARTS
    assert weight_names(folder, "base").index_file == own


@pytest.mark.parametrize("name", ["../up.safetensors", "a/../../up.safetensors", "/x.safetensors"])
def test_names_that_lead_out_of_the_folder_are_refused(folder: Path, name: str) -> None:
    index(folder, [PARTS[0], name])
    assert "outside of the model's folder" in refused(folder)
    write_json(folder / "config.json", {"transformers_weights": name})
    assert "outside of the model's folder" in refused(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin", "", 3, ["a"]])
def test_names_of_other_formats_are_refused(folder: Path, name: Any) -> None:
    write_json(folder / "config.json", {"transformers_weights": name})
    assert "no file of safetensors" in refused(folder)
    write_json(folder / "config.json", {"transformers_weights": None})
    index(folder, [name])
    assert INDEX in refused(folder)


def test_without_both_the_other_files_are_named_and_none_is_taken(folder: Path) -> None:
    said = refused(folder)
    assert f"neither {SINGLE} nor {INDEX}" in said
    assert "adapter_model.safetensors, consolidated.safetensors, model.fp16.safetensors" in said


def test_a_model_with_an_adapter_beside_it_is_refused(folder: Path) -> None:
    """transformers would load both."""
    write_json(folder / "adapter_config.json", {})
    assert "is an adapter; name the folder of a whole model" in refused(folder)
    (folder / SINGLE).touch()
    assert "holds a whole model and adapter_config.json" in refused(folder)


def test_a_distributed_checkpoint_is_refused(folder: Path) -> None:
    (folder / SINGLE).touch()
    (folder / "shard-00000-model-00001-of-00002.safetensors").touch()
    assert "is a distributed checkpoint" in refused(folder)


@pytest.mark.parametrize("trees", [False, True])
def test_a_snapshot_that_was_fetched_in_part_is_to_be_fetched(tmp_path: Path, trees: bool) -> None:
    folder = tmp_path / "models--owner--name" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    if trees:  # the client knows that there is nothing more
        write_json(folder.parents[1] / "trees" / f"{folder.name}.json", {})
    again = "not complete: fetch the model again where there is internet"
    assert (again in refused(folder)) != trees  # no config.json
    write_json(folder / "config.json", {})
    assert (again in refused(folder)) != trees  # no weights
    assert "save_pretrained" not in refused(folder) or trees


def test_a_link_to_nowhere_is_said(folder: Path) -> None:
    (folder / SINGLE).symlink_to(folder / "gone")
    assert f"{SINGLE}' links to a file that is not there; fetch the model again" in refused(folder)


def names(files: list[Path], folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in files}


def test_what_decides_a_model_are_its_own_weights_and_its_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt", SINGLE, *PARTS):
        (folder / name).touch()
    small = {"config.json", "tokenizer.json", "vocab.txt"}
    found = deciding_files(folder, TOKENIZER_FILES, weights=True)
    assert names(found, folder) == small | {SINGLE}
    (folder / SINGLE).unlink()
    index(folder, PARTS)
    path = LocalPath("path", str(folder), "folder", TOKENIZER_FILES, weights=True)
    assert names([Path(file) for file in path.files()], folder) == small | {*PARTS, INDEX}
    (folder / INDEX).write_text("{")  # the job says so
    found = deciding_files(folder, TOKENIZER_FILES, weights=True)
    assert names(found, folder) == small


@pytest.mark.parametrize(
    ("has", "decide"),
    [
        ([SINGLE], {SINGLE}),
        (["delta.safetensors"], {"delta.safetensors", "adapter_model.safetensors"}),
        (["adapter_config.json"], {"adapter_config.json", "adapter_model.safetensors"}),
    ],
)
def test_what_decides_a_fine_tune(folder: Path, has: list[str], decide: set[str]) -> None:
    for name in has:
        (folder / name).touch()
    assert names(deciding_files(folder, FINE_TUNE_FILES, weights=True), folder) == decide
