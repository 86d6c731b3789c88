"""What is fetched of a repository of the hub: what the model is, and no weights beside them."""

import fnmatch
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from detoxmerge.errors import UserError
from detoxmerge.models.folder import weight_files
from detoxmerge.models.places import download_model, model_folder
from detoxmerge.storage.artefacts import write_json

HASH = "0123456789abcdef0123456789abcdef01234567"
PLACE = {"hub": "owner/model", "revision": HASH}
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SMALL = [
    "README.md", "LICENSE", "config.json", "tokenizer.json", "tokenizer.model", "qwen.tiktoken",
    "modeling_own.py", "chat_template.jinja", "additional_chat_templates/tools.jinja",
]  # fmt: skip
FOREIGN = [
    "consolidated.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "onnx/model.onnx",
    "original/consolidated.00.pth", "model.Q4.gguf", "flax_model.msgpack", "picture.png",
    "checkpoint-5/trainer_state.json", "value_head.safetensors",
]  # fmt: skip
PARTS = ["model-00001-of-00002.safetensors", "model-[2].safetensors"]


class Hub:
    """In place of the hub: a repository, and the folder that its files are fetched to."""

    def __init__(self, folder: Path, names: Sequence[str], **contents: Any) -> None:
        self.repository, self.cache = folder / "repository", folder / "snapshots" / HASH
        self.revisions: list[str] = []
        for name in names:
            write_json(self.repository / name, contents.get(name, {}))

    def snapshot_download(
        self,
        hub: str,
        *,
        revision: str,
        allow_patterns: list[str],
        ignore_patterns: list[str],
        local_files_only: bool,
    ) -> str:
        self.revisions.append(revision)
        for file in (path for path in self.repository.rglob("*") if path.is_file()):
            name = str(file.relative_to(self.repository))
            allowed = any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns)
            ignored = any(fnmatch.fnmatch(name, pattern) for pattern in ignore_patterns)
            if allowed and not ignored and not local_files_only:
                (self.cache / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, self.cache / name)
        return str(self.cache)

    def fetched(self) -> set[str]:
        return {
            str(path.relative_to(self.cache)) for path in self.cache.rglob("*") if path.is_file()
        }


def fetch(monkeypatch: pytest.MonkeyPatch, hub: Hub, place: dict[str, str] = PLACE) -> set[str]:
    """The weights among the names of what was fetched; all small files are."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    assert download_model(place, "models.small") == hub.cache
    before = hub.fetched()
    assert model_folder(PLACE) == hub.cache  # and without internet
    assert hub.fetched() == before
    return {name for name in before if name.endswith(".safetensors")}


INDEXED = {INDEX: {"metadata": {}, "weight_map": dict(zip("ab", PARTS, strict=True))}}
OWN = {"config.json": {"transformers_weights": "own.safetensors"}}


@pytest.mark.parametrize(
    ("names", "contents", "wanted"),
    [
        ([SINGLE], {}, {SINGLE}),
        ([SINGLE, INDEX, *PARTS], INDEXED, {SINGLE}),
        ([INDEX, *PARTS], INDEXED, set(PARTS)),
        (["own.safetensors", SINGLE], OWN, {"own.safetensors"}),
        (["delta.safetensors"], {}, {"delta.safetensors"}),
        (
            ["adapter_config.json", "adapter_model.safetensors"],
            {},
            {"adapter_model.safetensors"},
        ),
        ([SINGLE, "adapter_model.safetensors"], {}, {SINGLE}),
    ],
)
def test_of_the_weights_those_are_fetched_that_are_the_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    contents: dict[str, Any],
    wanted: set[str],
) -> None:
    hub = Hub(tmp_path, [*SMALL, *FOREIGN, *names], **contents)
    assert fetch(monkeypatch, hub) == wanted
    assert set(SMALL) <= hub.fetched()
    assert not (set(FOREIGN) & hub.fetched())
    assert set(hub.revisions) == {HASH}


def test_an_adapter_alone_needs_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["adapter_config.json", "adapter_model.safetensors"]
    assert fetch(monkeypatch, Hub(tmp_path, names)) == {names[1]}


def test_a_branch_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may move while the model is fetched."""
    hub = Hub(tmp_path, ["config.json", SINGLE])
    fetch(monkeypatch, hub, PLACE | {"revision": "main"})
    assert hub.revisions[0] == "main"
    assert set(hub.revisions[1:]) == {HASH}


@pytest.fixture
def looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in the cache of the hub's own client, of which only the config was fetched."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--model"
    write_json(repository / "snapshots" / HASH / "config.json", {"model_type": "llama"})
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(HASH)
    return repository


def test_a_cache_that_was_fetched_in_part(looked_at: Path) -> None:
    for place in (PLACE | {"revision": "main"}, PLACE):
        with pytest.raises(UserError) as error:
            weight_files(download_model(place, "--base"), "base")
        assert "this snapshot of the hub's cache is not complete" in str(error.value)
        assert "where there is internet" in str(error.value)
        assert "save_pretrained" not in str(error.value)


def test_a_cache_that_the_client_knows_to_be_incomplete(looked_at: Path) -> None:
    from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache

    entry = TreeCacheEntry(size=9, blob_id="0" * 40)
    write_tree_cache(str(looked_at), HASH, {"config.json": entry, SINGLE: entry})
    with pytest.raises(UserError, match=r"is incomplete.* run this step where there is internet"):
        model_folder(PLACE)
    with pytest.raises(UserError, match=r"could not be fetched.* where there is internet"):
        download_model(PLACE, "--base")
