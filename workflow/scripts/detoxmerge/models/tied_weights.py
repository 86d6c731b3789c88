"""One weight under two names: an output head that is the input embedding.

Files hold it once, or, of some models and merging tools, twice. The config and the bytes tell it
where they can, so that neither torch nor transformers is needed.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..storage.reading import FLOATS, Weights
from .library_names import LibraryNames

# the last module of an output head's name; of two tied names the other one is the parameter's
HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output|output_layer|proj_out|head|decoder)\.\w+$")
EMBEDDING = re.compile(r"(^|\.)(\w*emb\w*|wte|shared)\.weight$")


def stored_twice(
    weights: Weights,
    config: Mapping[str, Any],
    folder: Path,
    ask: Callable[[], LibraryNames | None],
) -> dict[str, str]:
    """The names of tied embeddings that the files hold beside the parameter's own.

    Args:
        weights: of the model's files.
        config: its config.json.
        folder: for the error message.
        ask: transformers, where the config alone does not tell.

    Returns:
        other name -> name of the parameter; empty where each weight is stored once.

    Raises:
        UserError: the config says that they are one weight, and their bytes differ.
    """
    names = _candidates(weights, config)
    alike = [(a, b) for i, b in enumerate(names) for a in names[:i]
             if weights.layout[a][1] == weights.layout[b][1]]  # fmt: skip
    twice: dict[str, str] = {}
    for name, other in alike:
        if name in twice or other in twice or not _are_tied(name, other, weights, config, ask):
            continue
        if not same_bytes(weights, name, other):
            raise UserError(
                f"{folder}: its config.json says that '{other}' and '{name}' are one weight "
                "(tie_word_embeddings), and its files hold two that differ; set it to false there "
                "if both are meant, or save the model again"
            )
        twice[other] = name
    return twice


def stored_as_head(
    weights: Weights, config: Mapping[str, Any], ask: Callable[[], LibraryNames | None]
) -> dict[str, str]:
    """The name of a tied embedding that the files hold under its head's name alone.

    Args:
        weights: of the model's files; `config` and `ask` as in `stored_twice`.

    Returns:
        head's name -> name of the parameter, if there is such a weight and transformers knows it.
    """
    matrices = [name for name in _candidates(weights, config) if len(weights.layout[name][1]) == 2]
    if len(matrices) != 1 or not HEAD.search(matrices[0]) or (library := ask()) is None:
        return {}
    parameter = library.parameter(matrices[0])
    known = parameter is not None and library.shapes[parameter] == weights.layout[matrices[0]][1]
    return {matrices[0]: parameter} if known and parameter not in (None, matrices[0]) else {}


def _candidates(weights: Weights, config: Mapping[str, Any]) -> list[str]:
    """Embeddings and heads, and heads' biases, by name and number of rows; heads last."""
    rows = _rows(weights, config)
    names = [
        name
        for name, (dtype, shape) in weights.layout.items()
        if dtype in FLOATS
        and shape[:1] == (rows,)
        and (
            (len(shape) == 2 and (HEAD.search(name) or EMBEDDING.search(name)))
            or (len(shape) == 1 and name.endswith(".bias"))
        )
    ]
    return sorted(names, key=lambda name: (bool(HEAD.search(name)), name.count("."), name))


def _are_tied(
    name: str,
    other: str,
    weights: Weights,
    config: Mapping[str, Any],
    ask: Callable[[], LibraryNames | None],
) -> bool:
    """Whether two names are one weight by the config, or, where it is silent, by equal bytes."""
    stated = config.get("tie_word_embeddings")
    # of several configs in one, which decides depends on the class
    nested = any(isinstance(value, Mapping) and "vocab_size" in value for value in config.values())
    if not nested and stated is False:
        return False
    equal = same_bytes(weights, name, other)
    if not nested and equal:
        return True
    library = ask()
    if library is not None:
        parameter = library.parameter(name)
        return parameter is not None and parameter == library.parameter(other)
    if equal:
        return _stated(config, "tie_word_embeddings") is not False
    pair = EMBEDDING.search(name) and HEAD.search(other) and "pos" not in name
    return bool(stated and pair)


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
