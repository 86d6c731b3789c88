"""A task vector, however it is stored: as our delta, a fine-tuned model, or a LoRA adapter.

delta     a file of fp32 tensors, which is the vector
model     theta_i - theta_0, both as they are stored, the difference rounded once to fp32
adapter   the products of lora.py; theta_i - theta_0 for modules saved whole
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..models.folder import weight_files
from ..plan.weight_names import holds_a_model, read_config
from ..storage.reading import FLOATS, Weights
from ..storage.tensors import Shape
from .base import Base
from .fine_tune_names import names_in
from .lora import CONFIG, FILE, is_adapter, open_adapter
from .parameter_names import parameters, require_plain, without_wrappers

DELTA = "delta.safetensors"
TIED = "tied"  # of its header: other names of tied weights, as JSON


@dataclass(frozen=True)
class TaskVector:
    """One task vector; made by `open_delta` or `open_fine_tune`.

    Attributes:
        label: what messages call it: its path.
        kind: ``delta``, ``model`` or ``adapter``.
        files: with its weights, and an adapter's config.
        shapes: name -> shape of every tensor that can be merged, as in the base's files.
        other_names: of tied weights: other name -> name in `shapes`, where the file says it.
        read: (name, start, out) fills `out`, (count,) fp32, from place `start` on.
        whole: names of tensors for which `read` gives theta_i; for others it gives the vector.
    """

    label: str
    kind: str
    files: list[Path]
    shapes: dict[str, Shape]
    read: Callable[[str, int, np.ndarray], np.ndarray]
    whole: frozenset[str] = frozenset()
    other_names: Mapping[str, str] = field(default_factory=dict)


def open_fp32(file: Path) -> Weights:
    """The tensors of a vector of this project.

    Raises:
        UserError: the file is broken, or not fp32.
    """
    weights = Weights([file])
    for name, (dtype, _) in weights.layout.items():
        if dtype != "F32":
            raise UserError(f"{file}: tensor '{name}' is {dtype}; task vectors are kept in F32")
    return weights


def open_delta(file: Path) -> TaskVector:
    """A vector of this project, whose tensors are named as in `named_parameters`.

    Raises:
        UserError: as `open_fp32`.
    """
    weights = open_fp32(file)
    shapes = {name: shape for name, (_, shape) in weights.layout.items()}
    tied = json.loads(weights.metadata[file].get(TIED, "{}"))
    return TaskVector(str(file), "delta", [file], shapes, weights.read, other_names=tied)


def open_fine_tune(path: Path, base: Base, excluded: Collection[str] = ()) -> TaskVector:
    """The task vector of whatever a user names as a fine-tune of the base.

    Args:
        path: `DELTA` or a folder with it, a model folder, or an adapter folder.
        base: the vector has its names of tensors.
        excluded: parameters of the base that nobody reads, so that they may differ or be missing.

    Raises:
        UserError: it is none of these, is broken, or was made from another base.
    """
    if path.is_file() and path.name != DELTA:  # a model's file would pass for a vector
        raise UserError(
            f"{path}: only a task vector is named by its file, {DELTA}; of a model or an adapter "
            "name the folder"
        )
    if path.is_file() or (path / DELTA).is_file():
        return _delta_of(path if path.is_file() else path / DELTA, base, excluded)
    if is_adapter(path) and not holds_a_model(path):
        return _adapter(path, base, excluded)
    weights = without_wrappers(Weights(files := weight_files(path, "fine-tune")), str(path))
    require_plain(read_config(path, "fine-tune"), weights, str(path))
    names = names_in(weights, base, str(path), excluded)
    for name, stored in names.items():
        _require_dtype(path, stored, weights.layout[stored][0], base.weights.layout[name][0])
    shapes = parameters(base.weights.layout)
    read = weights.renamed(names).read
    return TaskVector(str(path), "model", files, shapes, read, frozenset(shapes))


def _delta_of(file: Path, base: Base, excluded: Collection[str]) -> TaskVector:
    """A vector of this project under the names of the base's files."""
    weights = open_fp32(file)
    read = weights.renamed(names_in(weights, base, str(file), excluded)).read
    return TaskVector(str(file), "delta", [file], parameters(base.weights.layout), read)


def _adapter(path: Path, base: Base, excluded: Collection[str]) -> TaskVector:
    """The change that an adapter makes to its base."""
    adapter = open_adapter(path, base, excluded)
    files = [path / CONFIG, path / FILE]
    shapes = parameters(base.weights.layout)

    # what an adapter does not name, it does not change
    def read(name: str, start: int, out: np.ndarray) -> np.ndarray:
        if name in adapter.products:
            return adapter.product(name, start, out)
        if name in adapter.saved:
            return adapter.weights.read(adapter.saved[name], start, out)
        out[:] = 0
        return out

    return TaskVector(adapter.label, "adapter", files, shapes, read, frozenset(adapter.saved))


def _require_dtype(path: Path, name: str, dtype: str, base: str) -> None:
    """Raise UserError if a fine-tune is stored in less precision than its base."""
    if dtype not in FLOATS:
        raise UserError(
            f"{path}: tensor '{name}' is {dtype}; a task vector can be taken of "
            f"{', '.join(FLOATS)} only: save the model unquantised"
        )
    if dtype not in ("F32", base):
        raise UserError(
            f"{path}: tensor '{name}' is {dtype} and {base} in the base, so that the difference "
            f"would be mostly rounding; save the fine-tune in {base}, or merge it with a base in "
            f"{dtype} if that is what it was trained from"
        )
