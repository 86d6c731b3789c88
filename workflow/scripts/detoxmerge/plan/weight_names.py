"""Which files of a folder are a model's weights, as transformers reads them: by names alone.

`transformers_weights` of config.json, else model.safetensors, else what its index names. All else
is no part of the model: variants, second copies, value heads, optimizer files, an old index.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError

SINGLE = "model.safetensors"
INDEX = f"{SINGLE}.index.json"
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
DELTA = "delta.safetensors"  # a task vector of this project
KEY = "transformers_weights"  # of a config that names its file, or index, of weights itself
DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")


class WeightNames(NamedTuple):
    """What holds a model's weights; paths are relative to its folder, with slashes.

    Attributes:
        files: of weights, sorted.
        index_file: names them; None for a model in one file without an index.
        tensors: names of all tensors in the index.
    """

    files: list[str]
    index_file: str | None = None
    tensors: frozenset[str] = frozenset()


def weight_names(folder: Path, name: str) -> WeightNames:
    """The files that hold the weights of a model; whether they are there is not looked up.

    Args:
        name: of the model, for the error message.

    Raises:
        UserError: config or weights are missing, the index is broken, or it cannot be told which
            files are the model.
    """
    start = _start(folder, read_config(folder, name), name)
    if not start.endswith(".index.json"):
        return WeightNames([start])
    index = folder / start
    if not index.is_file():
        raise UserError(f"{name}: '{index}' is missing; {again(folder)}")
    try:
        tensors = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {os.path.normpath(file) for file in tensors.values()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{name}: '{index}' is not an index of weights ({error!r}); {again(folder)}"
        ) from None
    for file in sorted(files):
        _require_inside(file, f"{name}: '{index}'")
    if not files:
        raise UserError(f"{name}: '{index}' names no file; {again(folder)}")
    return WeightNames(sorted(files), start, frozenset(tensors))


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """What config.json in a model's folder says.

    Args:
        name: of the model, for the error message.

    Raises:
        UserError: it is missing, or is not a JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        how = again(folder) if _partial(folder) else "is it a model folder?"
        raise UserError(f"{name}: '{folder}' has no config.json; {how}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{name}: '{file}' is not JSON ({error}); {again(folder)}") from None
    if not isinstance(config, dict):
        raise UserError(f"{name}: '{file}' is not the config of a model; {again(folder)}")
    return config


def fetched_names(folder: Path) -> list[str]:
    """The weights that a repository is asked for first, by its small files, which are here."""
    try:
        file = read_config(folder, "").get(KEY)
    except UserError:  # an adapter, or a broken one, of which the reader says so
        file = None
    names = [file if isinstance(file, str) else SINGLE, DELTA, "config.json"]
    return names + ([ADAPTER] if (folder / ADAPTER_CONFIG).is_file() else [])


def named_files(folder: Path) -> list[str]:
    """All files of a model's weights; none where it cannot be told which, as its reader says."""
    try:
        return weight_names(folder, "").files
    except UserError:
        return []


def holds_a_model(folder: Path) -> bool:
    """Whether a folder has weights where transformers looks for those of a whole model."""
    return (folder / SINGLE).is_file() or (folder / INDEX).is_file()


def again(folder: Path) -> str:
    """How to mend a folder that lacks something, as the end of a sentence."""
    if _partial(folder):
        return (
            "this snapshot of the hub's cache is not complete: fetch the model again where there "
            "is internet, without HF_HUB_OFFLINE"
        )
    return "fetch the model again"


def _partial(folder: Path) -> bool:
    """Whether a folder is a snapshot that was never fetched as a whole, as far as can be told."""
    # the hub's client keeps the list of a repository's files once it has fetched by it
    in_cache = folder.parent.name == "snapshots"
    return in_cache and not (folder.parents[1] / "trees" / f"{folder.name}.json").is_file()


def _start(folder: Path, config: Mapping[str, Any], name: str) -> str:
    """The file, or the index, that transformers opens first."""
    for_adapter = folder / ADAPTER_CONFIG
    if for_adapter.is_file():
        if not holds_a_model(folder):
            raise UserError(f"{name}: '{folder}' is an adapter; name the folder of a whole model")
        raise UserError(
            f"{name}: '{folder}' holds a whole model and {ADAPTER_CONFIG}, and transformers would "
            f"load the adapter on top of it; move {ADAPTER_CONFIG} away if the adapter is merged "
            "or left over, else merge it into the model"
        )
    if distributed := [f.name for f in folder.iterdir() if DISTRIBUTED.fullmatch(f.name)]:
        raise UserError(
            f"{name}: '{folder}' is a distributed checkpoint ({min(distributed)}); load it and "
            "save it with model.save_pretrained(folder)"
        )
    if (file := config.get(KEY)) is not None:
        where = f"{name}: {KEY} in '{folder / 'config.json'}'"
        _require_inside(file, where, (".safetensors", ".safetensors.index.json"))
        return os.path.normpath(file)
    for start in (SINGLE, INDEX):
        if (folder / start).is_file():
            return start
    raise UserError(f"{name}: {_no_weights(folder)}")


def _no_weights(folder: Path) -> str:
    """The sentence for a folder without `SINGLE` and `INDEX`."""
    if (folder / SINGLE).is_symlink():
        return f"'{folder / SINGLE}' links to a file that is not there; {again(folder)}"
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    if _partial(folder):
        return f"'{folder}' has neither {SINGLE} nor {INDEX}; {again(folder)}"
    if others:
        return (
            f"'{folder}' has neither {SINGLE} nor {INDEX}, of which transformers reads the first "
            f"that is there, but {', '.join(others)}; if one of them is the model, rename it to "
            f"{SINGLE}, else save it again with model.save_pretrained(folder)"
        )
    return (
        f"'{folder}' has no .safetensors file, and other formats can run code when they are read; "
        "save it with model.save_pretrained(folder)"
    )


def _require_inside(file: Any, where: str, ends: tuple[str, ...] = (".safetensors",)) -> None:
    """Raise UserError unless what a file names is one of safetensors in the same folder."""
    if not isinstance(file, str) or not file.endswith(ends):
        raise UserError(f"{where} names {file!r}, which is no file of safetensors; mend it")
    if os.path.isabs(file) or os.path.normpath(file).split(os.sep)[0] == os.pardir:
        raise UserError(f"{where} names {file!r}, which is outside of the model's folder; mend it")
