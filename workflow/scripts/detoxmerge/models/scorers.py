"""Toxicity scorers: Detoxify's own checkpoints, pinned, or a local one in its format."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..plan.local import TOKENIZER_FILES, expand_path
from ..storage.artefacts import publish, read_json, sha256, write_json, write_manifest
from .places import snapshot

INSTEAD = "`detoxify` by `checkpoint: {file: ..., tokenizer: ...}`, local copies"
RELEASES = "https://github.com/unitaryai/detoxify/releases/download/"
# variant -> file of Detoxify's release, the beginning of its SHA-256, and the hub folder with
# its tokenizer and model config, pinned
VARIANTS: dict[str, dict[str, str]] = {
    "original": {
        "url": RELEASES + "v0.1-alpha/toxic_original-c1212f89.ckpt",
        "sha256_prefix": "c1212f89",
        "hub": "google-bert/bert-base-uncased",
        "revision": "86b5e0934494bd15c9632b12f734a8a67f723594",
    },
    "unbiased": {
        "url": RELEASES + "v0.3-alpha/toxic_debiased-c7548aa0.ckpt",
        "sha256_prefix": "c7548aa0",
        "hub": "FacebookAI/roberta-base",
        "revision": "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
    },
    "multilingual": {
        "url": RELEASES + "v0.4-alpha/multilingual_debiased-0b549669.ckpt",
        "sha256_prefix": "0b549669",
        "hub": "FacebookAI/xlm-roberta-base",
        "revision": "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089",
    },
}


def fetch_scorer(alias: str, protocol: Mapping[str, Any], out: Path) -> None:
    """Find a scorer, check that it loads, and write its manifest.

    Args:
        alias: the scorer's name in the config.
        protocol: `detoxify` (a variant) or `checkpoint` (`file`, `tokenizer`).
        out: manifest. A fetched checkpoint lies beside it; a local one is referred to.

    Raises:
        UserError: it cannot be fetched, has another checksum, or is no Detoxify checkpoint.
    """
    if protocol["detoxify"]:
        variant = VARIANTS[protocol["detoxify"]]
        checkpoint = out.with_name("checkpoint.ckpt")
        _download(variant, alias, checkpoint)
        tokenizer = {"hub": variant["hub"], "revision": variant["revision"]}
        _download_tokenizer(tokenizer, alias)
        place = str(checkpoint)
    else:
        place = protocol["checkpoint"]["file"]
        checkpoint = Path(expand_path(place))
        tokenizer = {"path": protocol["checkpoint"]["tokenizer"]}
    write_scorer(out, protocol, place, tokenizer, checkpoint)


def write_scorer(
    out: Path,
    protocol: Mapping[str, Any],
    place: str,
    tokenizer: Mapping[str, str],
    checkpoint: Path,
    **content: Any,
) -> None:
    """Check that Detoxify loads a checkpoint, and write the scorer's manifest.

    Args:
        out: manifest.
        protocol: where the scorer comes from, or how it was trained.
        place: the checkpoint as it shall stand in the manifest.
        tokenizer: `path`, or `hub` and `revision`.
        checkpoint: the file.
        content: further results.

    Raises:
        UserError: it is no Detoxify checkpoint.
    """
    if not checkpoint.is_file():
        raise UserError(f"no scorer checkpoint '{checkpoint}'; mend its path in the config")
    fields = {"checkpoint": place, "tokenizer": dict(tokenizer)}
    loaded = load_scorer(fields, "cpu")
    write_manifest(
        out,
        protocol=protocol,
        inputs=[],
        files={checkpoint.name: sha256(checkpoint)},
        labels=list(loaded.class_names),
        **fields,
        **content,
    )
    print(f"{out.parent.name}: {type(loaded.model).__name__}, {', '.join(loaded.class_names)}")


def load_scorer(manifest: Mapping[str, Any] | Path, device: str) -> Any:
    """The scorer, by Detoxify, without internet.

    Detoxify reads checkpoints with a loader that can run code, looks for the model's config on the
    hub, and takes the number of outputs from a local config. So the checkpoint is first read with
    tensors and plain values only, pointed at a view of the local folder whose config has the
    checkpoint's number of outputs, and Detoxify gets that copy.

    Args:
        manifest: with `checkpoint` and `tokenizer`, or the path of one.
        device: ``cpu`` or ``cuda``.

    Returns:
        A `detoxify.Detoxify`; `predict(list of texts)` gives a list of scores per label.

    Raises:
        UserError: the checkpoint is broken, unsafe, or not in Detoxify's format.
    """
    import torch
    from detoxify import Detoxify

    fields = read_json(manifest) if isinstance(manifest, Path) else manifest
    checkpoint = expand_path(fields["checkpoint"])
    folder = _tokenizer_folder(fields["tokenizer"])
    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
        arch = loaded["config"]["arch"]["args"]
        with _view(folder, arch["num_classes"]) as view:
            arch["model_type"] = view
            copy = io.BytesIO()
            torch.save({"config": loaded["config"], "state_dict": loaded["state_dict"]}, copy)
            copy.seek(0)
            return Detoxify(checkpoint=copy, huggingface_config_path=view, device=device)
    except Exception as error:  # pickle, zip, torch and transformers each have their own
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{checkpoint} (with the tokenizer in {folder}) is no checkpoint that Detoxify can "
            f"load from tensors and plain values ({why}); fetch it again, or save it in Detoxify's "
            "format"
        ) from error


@contextlib.contextmanager
def _view(folder: Path, num_classes: int) -> Iterator[str]:
    """A temporary folder like the tokenizer's, whose model config has so many outputs."""
    labels = {str(i): f"LABEL_{i}" for i in range(num_classes)}
    config = read_json(folder / "config.json")
    config |= {"id2label": labels, "label2id": {name: int(i) for i, name in labels.items()}}
    with tempfile.TemporaryDirectory() as view:
        for file in folder.iterdir():
            if file.name != "config.json":
                os.symlink(file.resolve(), Path(view) / file.name)
        write_json(Path(view) / "config.json", config)
        yield view


def _download(variant: Mapping[str, str], alias: str, checkpoint: Path) -> None:
    import torch

    if checkpoint.is_file() and sha256(checkpoint).startswith(variant["sha256_prefix"]):
        return
    try:
        with publish(checkpoint) as part:
            torch.hub.download_url_to_file(
                variant["url"], str(part), hash_prefix=variant["sha256_prefix"], progress=False
            )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the checkpoint {variant['url']} could not be fetched ({error}); run this step where "
            f"there is internet, or replace `detoxify` in scorers.{alias} by `checkpoint: {{file: "
            "..., tokenizer: ...}` with local copies"
        ) from error


def _download_tokenizer(place: Mapping[str, str], alias: str) -> None:
    snapshot("tokenizer", place, TOKENIZER_FILES, f"scorers.{alias}", INSTEAD, online=True)


def _tokenizer_folder(place: Mapping[str, str]) -> Path:
    if "path" in place:
        return Path(expand_path(place["path"]))
    return snapshot("tokenizer", place, TOKENIZER_FILES, "scorers", INSTEAD)
