"""A variant of Detoxify (Hanu and Unitary team 2020), from its releases, pinned by checksum."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ...errors import UserError
from ...plan.local import TOKENIZER_FILES, LocalPath
from ...storage.artefacts import publish, sha256
from ..places import snapshot
from . import Fetched, checkpoint

RULE = "fetch_scorer"
Value = Literal["original", "unbiased", "multilingual"]

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
load = checkpoint.load


def local_paths(value: str) -> list[LocalPath]:
    """None: the files are downloaded."""
    return []


def words(value: str) -> str:
    """Detoxify and the variant."""
    return f"Detoxify `{value}`"


def fetch(value: str, alias: str, folder: Path) -> Fetched:
    """Download the checkpoint into the folder, and the tokenizer into the hub's cache."""
    variant, file = VARIANTS[value], folder / "checkpoint.ckpt"
    _download(variant, alias, file)
    tokenizer = {key: variant[key] for key in ("hub", "revision")}
    where = f"scorers.{alias}"
    snapshot("tokenizer", tokenizer, TOKENIZER_FILES, where, checkpoint.LOCAL_COPIES, online=True)
    return checkpoint.described(str(file), tokenizer)


def _download(variant: Mapping[str, str], alias: str, file: Path) -> None:
    import torch

    if file.is_file() and sha256(file).startswith(variant["sha256_prefix"]):
        return
    try:
        with publish(file) as part:
            torch.hub.download_url_to_file(
                variant["url"], str(part), hash_prefix=variant["sha256_prefix"], progress=False
            )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the checkpoint {variant['url']} could not be fetched ({error}); run this step where "
            f"there is internet, or replace, in scorers.{alias}, {checkpoint.LOCAL_COPIES}"
        ) from error
