"""A local checkpoint in Detoxify's format, with the folder of its tokenizer."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ...errors import UserError
from ...plan.entries import Entry, Text
from ...plan.local import TOKENIZER_FILES, LocalPath, expand_path
from ...storage.artefacts import read_json, require_sum, sha256, write_json
from ..places import Place, folder_of, require_files
from ..without_code import read_tokenizer
from . import Fetched, LoadedScorer

RULE = "fetch_scorer"
LOCAL_COPIES = "`detoxify` by `checkpoint: {file: ..., tokenizer: ...}`, local copies"


class Checkpoint(Entry):
    """A local checkpoint in Detoxify's format, with its tokenizer's folder."""

    file: Text = Field(description=".ckpt; $VARIABLES are expanded")
    tokenizer: Text = Field(description="folder with config.json and the tokenizer's files")


Value = Checkpoint


def local_paths(value: Checkpoint) -> list[LocalPath]:
    """The checkpoint, and the folder of its tokenizer."""
    return [
        LocalPath("file", value.file),
        LocalPath("tokenizer", value.tokenizer, "folder", TOKENIZER_FILES),
    ]


def words(value: Checkpoint) -> str:
    """The name of the file, without its folder."""
    return f"the checkpoint `{value.file.rsplit('/', 1)[-1]}`"


def fetch(value: Mapping[str, str], alias: str, folder: Path) -> Fetched:
    """Nothing is copied: the manifest has the paths as the config has them."""
    file = Path(expand_path(value["file"]))
    if not file.is_file():
        raise UserError(
            f"scorers.{alias}.checkpoint.file: no file '{file}'; mend its path in the config"
        )
    return described(value["file"], {"path": value["tokenizer"]})


def described(file: str, tokenizer: Place) -> Fetched:
    """What `load` needs to know of a checkpoint and its tokenizer, with the checksums of both.

    Args:
        file: as the config has it.
        tokenizer: `path`, or `hub` and `revision`.
    """
    folder = _folder(tokenizer)
    files = sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)})
    place = {**tokenizer, "sha256": {path.name: sha256(path) for path in files}}
    return Fetched({"checkpoint": file, "tokenizer": place}, [Path(expand_path(file))])


def _folder(tokenizer: Place) -> Path:
    return folder_of("tokenizer", tokenizer, TOKENIZER_FILES, "scorers", LOCAL_COPIES)


def load(manifest: Mapping[str, Any], device: str) -> LoadedScorer:
    """A `Classifier` around a `detoxify.Detoxify`, from tensors and plain values only.

    Detoxify reads checkpoints with a loader that can run code, looks for the model's config on the
    hub, and takes the number of outputs from a local config. So the checkpoint is first read with
    tensors and plain values only and pointed at a view of the local folder whose config has the
    checkpoint's number of outputs. Detoxify gets that copy. It would also ask whether to run code
    that the folder's configs name, so in the view they name none.
    """
    import torch
    from detoxify import Detoxify

    from ..classifier import Classifier

    file, place = Path(expand_path(manifest["checkpoint"])), manifest["tokenizer"]
    folder = _folder(place)
    if "manifest" in manifest:  # else it is being made
        require_files(folder, {**place, "manifest": manifest["manifest"]})
        require_sum(file, manifest["files"][file.name], manifest["manifest"])
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        arch = content["config"]["arch"]["args"]
        if arch.get("tokenizer_name") == "AutoTokenizer":
            read_tokenizer(folder)
        with _view(folder, arch["num_classes"]) as view:
            arch["model_type"] = view  # where Detoxify looks for config and tokenizer
            copy = io.BytesIO()
            torch.save({"config": content["config"], "state_dict": content["state_dict"]}, copy)
            copy.seek(0)
            scorer = Detoxify(checkpoint=copy, huggingface_config_path=view, device=device)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except Exception as error:  # pickle, zip, torch and transformers each have their own
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{file} (with the tokenizer in {folder}) is not a checkpoint that Detoxify can "
            f"load from tensors and plain values ({why}); fetch it again, or save it in Detoxify's "
            "format"
        ) from error
    # Detoxify cuts texts where the tokenizer says; beyond the positions they would have no score
    if limit := most_tokens(scorer.model):
        scorer.tokenizer.model_max_length = min(scorer.tokenizer.model_max_length, limit)
    return Classifier(scorer)


def most_tokens(model: Any) -> int | None:
    """Tokens that a classifier can read, special ones among them; None: its config has no limit."""
    limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if limit is None or limit < 1:  # of XLNet it is -1
        return None
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return limit - padding - 1  # RoBERTa and its kin count from behind the pad token
    return limit


@contextlib.contextmanager
def _view(folder: Path, num_classes: int) -> Iterator[str]:
    """A temporary folder like the tokenizer's, with this number of outputs, and no code named."""
    labels = {str(i): f"LABEL_{i}" for i in range(num_classes)}
    config = read_json(folder / "config.json")
    config |= {"id2label": labels, "label2id": {name: int(i) for i, name in labels.items()}}
    configs = {file.name: read_json(file) for file in folder.glob("*_config.json")}
    changed = {name: content for name, content in configs.items() if "auto_map" in content}
    changed["config.json"] = config
    with tempfile.TemporaryDirectory() as view:
        for file in folder.iterdir():
            if file.name not in changed:
                os.symlink(file.resolve(), Path(view) / file.name)
        for name, content in changed.items():
            write_json(Path(view) / name, {k: v for k, v in content.items() if k != "auto_map"})
        yield view
