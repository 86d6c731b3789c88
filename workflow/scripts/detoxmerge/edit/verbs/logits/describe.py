"""How `edit.json` describes helper models (`helper_models.make_helper` reads it). No torch here."""

import os
from pathlib import Path
from typing import Any

from ....errors import UserError
from ....models.loading import load_config, load_tokenizer
from ....models.places import place_in
from ....storage.artefacts import read_json


def prompted(base: Path, prefixes: list[str]) -> dict[str, Any]:
    """The base itself behind prefixes.

    Args:
        base: its manifest.
        prefixes: texts.

    Returns:
        `prefixes`, their tokens; `begin`, the begin-of-text token; `texts`.
    """
    tokenizer = load_tokenizer(place_in(base))
    tokens = tokenizer(prefixes, add_special_tokens=False)["input_ids"]
    return {"prefixes": tokens, "begin": tokenizer.bos_token_id, "texts": prefixes}


def fine_tuned(manifest: Path, folder: Path, base: Path | None = None) -> dict[str, Any]:
    """A model whose difference to its base lies beside a manifest.

    Args:
        manifest: of a shard's fine-tune, or of an edit of verb `delta`, which is taken at scale 1.
        folder: of the new edit; paths are relative to it, so that the results folder may move.
        base: manifest of the fine-tune's base; None: that of the edit.

    Returns:
        `delta`, its `sha256`, `sign`, and `base`.
    """
    content = read_json(manifest)
    file = content["tensors"]["file"] if "tensors" in content else "delta.safetensors"
    return {
        "delta": os.path.relpath(manifest.with_name(file), folder),
        "sha256": content["files"][file],
        "sign": content.get("sign", 1),
        "base": os.path.relpath(base, folder) if base else None,
    }


def require_same_tokens(base: Path, helper: Path) -> None:
    """Raise UserError unless token i is the same for two models, and both have as many logits."""
    places = [place_in(path) for path in (base, helper)]
    ours, theirs = (load_tokenizer(place).get_vocab() for place in places)
    sizes = [load_config(place).vocab_size for place in places]
    differing = sorted(word for word in {*ours, *theirs} if ours.get(word) != theirs.get(word))
    if differing:
        ids = [vocabulary.get(differing[0], "missing") for vocabulary in (ours, theirs)]
        raise UserError(
            "logits of models with different tokenizers cannot be combined: token "
            f"{differing[0]!r} is {ids[0]} in {base} and {ids[1]} in {helper}; choose a `model` "
            "of the same family"
        )
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{base} has {sizes[0]} logits and {helper} {sizes[1]}, so they cannot be combined; "
            "choose a `model` with as many"
        )
