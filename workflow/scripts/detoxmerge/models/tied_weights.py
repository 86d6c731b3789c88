"""One weight under two names: an output head that is the input embedding.

Files hold it once, or, of some models and merging tools, twice. The names are told by the config
and the bytes alone, so that neither torch nor transformers is needed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..storage.reading import FLOATS, Weights
from .without_code import read_folder

# the last module of an output head's name; of two tied names the other one is the parameter's
HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output|output_layer|proj_out|head|decoder)\.weight$")


def stored_twice(weights: Weights, config: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The names of tied embeddings that the files hold beside the parameter's own.

    Args:
        weights: of the model's files.
        config: its config.json.
        folder: for the error message, and to ask transformers where the config says nothing.

    Returns:
        other name -> name of the parameter; empty where each weight is stored once.

    Raises:
        UserError: the config says that they are one weight, and their bytes differ.
    """
    stated = _stated(config, "tie_word_embeddings")
    if stated is False:
        return {}
    rows = _rows(weights, config)
    matrices = [
        name
        for name, (dtype, shape) in weights.layout.items()
        if len(shape) == 2 and shape[0] == rows and dtype in FLOATS
    ]
    matrices.sort(key=lambda name: (bool(HEAD.search(name)), name))
    twice: dict[str, str] = {}
    for i, name in enumerate(matrices):
        same = (n for n in matrices[:i] if n not in twice and same_bytes(weights, n, name))
        if first := next(same, None):
            twice[name] = first
    if len(matrices) == 2 and not twice and _is_pair(weights, *matrices):
        embedding, head = matrices
        if stated or _tied_by_default(folder):
            raise UserError(
                f"{folder}: its config.json says that '{head}' and '{embedding}' are one weight "
                "(tie_word_embeddings), and its files hold two that differ; set it to false there "
                "if both are meant, or save the model again"
            )
    return twice


def same_bytes(weights: Weights, name: str, other: str) -> bool:
    """Whether two tensors have the same dtype, shape and bytes."""
    if weights.layout[name] != weights.layout[other]:
        return False
    size, step = weights.stored[name].num_bytes, 1 << 20
    for start in range(0, size, step):
        parts = [np.empty(min(step, size - start), np.uint8) for _ in range(2)]
        a, b = (weights.read_bytes(n, start, p) for n, p in zip((name, other), parts, strict=True))
        if not np.array_equal(a, b):
            return False
    return True


def _is_pair(weights: Weights, embedding: str, head: str) -> bool:
    """Whether two matrices look like an embedding and its head."""
    return bool(HEAD.search(head)) and weights.layout[embedding][1] == weights.layout[head][1]


def _rows(weights: Weights, config: Mapping[str, Any]) -> int:
    """Tokens of the vocabulary, else the most rows that a matrix has."""
    stated = _stated(config, "vocab_size")
    shapes = [shape for _, shape in weights.layout.values() if len(shape) == 2]
    known = stated if any(shape[0] == stated for shape in shapes) else None
    return int(known or max((shape[0] for shape in shapes), default=0))


def _stated(config: Mapping[str, Any], key: str) -> Any:
    """A key of a config, or of its text model's, if it has one; None if neither says it."""
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping) and part.get(key) is not None:
            return part[key]
    return None


def _tied_by_default(folder: Path) -> bool:
    """What transformers takes for granted where the config does not say it."""
    try:
        from transformers import AutoConfig

        config = read_folder(AutoConfig, folder)
    # not installed, or a model that it does not know, or whose code it would need
    except (ImportError, OSError, ValueError, UserError):
        return False
    return bool(getattr(config.get_text_config(), "tie_word_embeddings", False))
