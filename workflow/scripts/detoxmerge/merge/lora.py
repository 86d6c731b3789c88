"""LoRA adapters as task vectors: tau = s B A, tensor by tensor (Hu et al., arXiv 2106.09685).

s = alpha / r, or alpha / sqrt(r) with `use_rslora` (arXiv 2312.03732). The product is taken in fp64
and rounded once to fp32: the mean of N adapters is the mean of their products.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..models.tied_weights import same_bytes
from ..storage.reading import FLOATS, Weights
from ..storage.tensors import Shape
from .adapter_config import (
    CONFIG,
    MERGE_IT,
    pattern_value,
    read_adapter_config,
    require_named,
    require_rank,
)
from .base import Base
from .parameter_names import parameters, without_wrappers

FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
# by how much a number changes, relatively and near 0, that is kept in a dtype
ROUNDING = {"F32": 0.0, "BF16": 2.0**-8, "F16": 2.0**-11}
SUBNORMAL = {"F32": 0.0, "BF16": 2.0**-133, "F16": 2.0**-25}
# how PEFT calls the factors of a linear layer and of an embedding
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<which>[AB])(\.weight)?$")


@dataclass(frozen=True)
class Product:
    """The factors of one tensor's change, fp64: tau = left @ right."""

    left: np.ndarray  # (rows, r), with s in it
    right: np.ndarray  # (r, columns)


@dataclass(frozen=True)
class Adapter:
    """What an adapter folder changes in its base."""

    label: str  # what messages call it
    weights: Weights
    products: dict[str, Product]  # by the base's names
    saved: dict[str, str]  # name in the base -> stored name, of tensors that are saved whole

    def product(self, name: str, start: int, out: np.ndarray) -> np.ndarray:
        """Some elements of a change.

        Args:
            name: in `products`.
            start: place of the first element, row-major.
            out: (count,), fp32; it is filled and retransposed.
        """
        factors = self.products[name]
        columns = factors.right.shape[1]
        first, last = start // columns, -(-(start + out.size) // columns)
        rows = (factors.left[first:last] @ factors.right).reshape(-1)
        out[:] = rows[start - first * columns :][: out.size]
        return out


def is_adapter(path: Path) -> bool:
    """Whether a folder has an adapter's config."""
    return (path / CONFIG).is_file()


def open_adapter(path: Path, base: Base, excluded: Collection[str] = ()) -> Adapter:
    """Read the factors, which are small, of an adapter folder that PEFT has saved.

    Args:
        base: what it was trained on.
        excluded: parameters of the base that nobody reads, so that they may differ.

    Raises:
        UserError: it is not a plain LoRA, is broken, changes the base, belongs to another one, or
            changes one weight of it in two ways.
    """
    config = read_adapter_config(path)
    weights = without_wrappers(Weights([path / FILE]), str(path / FILE))
    factors, whole = _sort_tensors(weights)
    if not factors and not whole:
        raise UserError(f"{path / FILE} holds no weights; fetch it again")

    # the adapter's names -> the base's
    names: dict[str, str] = {}
    asked = base.names_of([*(f"{module}.weight" for module in factors), *whole], str(path))
    for name, meant in asked.items():
        if meant is None:
            raise UserError(f"{path} is an adapter of another base, which has a tensor '{name}'")
        names[name] = meant
    shapes = {n: s for n, s in parameters(base.weights.layout).items() if n not in set(excluded)}
    modules = {m: names[f"{m}.weight"] for m in factors if names[f"{m}.weight"] in shapes}
    saved = {name: names[name] for name in whole if names[name] in shapes}

    products: dict[str, Product] = {}
    for module, name in modules.items():
        if name in products:
            raise UserError(
                f"{path} changes '{name}' of the base by the factors of two modules, as it is the "
                f"weight of both ('{module}' is one); {MERGE_IT}"
            )
        require_named(path, config, module)
        shape = shapes[name]
        turned = len(set(shape)) == 1 and base.is_input_first(name, str(path))
        products[name] = _product(path, config, module, factors[module], shape, turned)
    kept = _saved_whole(path, base, weights, {n: whole[n] for n in saved}, saved, set(products))
    return Adapter(str(path), weights, products, kept)


def _saved_whole(
    path: Path,
    base: Base,
    weights: Weights,
    whole: dict[str, str],
    saved: dict[str, str],
    products: set[str],
) -> dict[str, str]:
    """The tensors that stand for the base's: name in the base -> stored name."""
    shapes = parameters(base.weights.layout)
    kept: dict[str, str] = {}
    for name, stored in whole.items():
        meant = saved[name]
        if weights.layout[stored][1] != shapes[meant]:
            raise UserError(f"{path} is an adapter of another base: '{name}' has another shape")
        if meant in products:
            # PEFT saves an embedding as it was beside the factors of its change
            if not _is_copy(weights, stored, base.weights, meant):
                raise UserError(
                    f"{path} holds '{stored}' beside factors of the same weight, and it is not "
                    f"that of this base; {MERGE_IT}"
                )
        elif meant in kept and not same_bytes(weights, kept[meant], stored):
            raise UserError(
                f"{path}: '{kept[meant]}' and '{stored}' are one weight in the base, and differ in "
                "it; train it with the weights tied (ensure_weight_tying), or take a base in which "
                "they are two"
            )
        else:
            kept.setdefault(meant, stored)
    _require_both_names(path, base, kept, saved)
    return kept


def _require_both_names(
    path: Path, base: Base, kept: dict[str, str], saved: dict[str, str]
) -> None:
    """Raise UserError if a tied weight is saved whole under one of its names alone."""
    tied = base.other_names() if kept else {}
    for name in kept:
        if base.library is None and base.may_be_tied(name):
            raise UserError(
                f"{path} saves '{kept[name]}' whole, which may be the base's output head, too; "
                "install transformers and torch beside this command, to tell"
            )
    for name in kept:
        every = {other for other, ours in tied.items() if ours == name} | {name}
        named = {stored for stored, meant in saved.items() if meant == name}
        if len(named) < len(every):
            left = sorted(o for o in every if not any(n.endswith(o) for n in named))
            raise UserError(
                f"{path} saves '{kept[name]}' whole, and the base has one weight for it and for "
                f"'{(left or sorted(every))[0]}', which PEFT leaves as it was: the two would "
                f"differ; {MERGE_IT}, with a base in which they are two"
            )


def _is_copy(weights: Weights, stored: str, base: Weights, name: str) -> bool:
    """Whether a stored tensor is the base's, in the dtype in which it is stored."""
    dtype, shape = weights.layout[stored]
    size = int(np.prod(shape, dtype=np.int64))
    for start in range(0, size, 1 << 20):
        count = min(1 << 20, size - start)
        ours = base.read(name, start, np.empty(count, np.float32))
        theirs = weights.read(stored, start, np.empty(count, np.float32))
        # the base may be kept in more precision than it was trained in
        if (np.abs(ours - theirs) > ROUNDING[dtype] * np.abs(ours) + SUBNORMAL[dtype]).any():
            return False
    return True


def _sort_tensors(weights: Weights) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """module -> its factors `A` and `B`, fp64; name -> stored name of tensors saved whole."""
    factors: dict[str, dict[str, Any]] = {}
    whole: dict[str, str] = {}
    for stored, (_, shape) in weights.layout.items():
        name = stored.removeprefix(PREFIX)
        part = FACTOR.match(name)
        if weights.layout[stored][0] not in FLOATS:
            raise UserError(f"{weights.file_of[stored]}: '{stored}' is not of floats")
        if part is None:
            if "lora_" in name or ".token_adapter." in name:
                raise UserError(
                    f"{weights.file_of[stored]}: '{stored}' is not part of a plain LoRA; {MERGE_IT}"
                )
            # PEFT's names of biases that are trained, and of whole modules
            name = name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
            _require_new(name, whole, weights, stored)
            whole[name] = stored
            continue
        if len(shape) != 2 or 0 in shape:
            raise UserError(
                f"{weights.file_of[stored]}: '{stored}' is {list(shape)}, which is not a factor of "
                "a plain LoRA"
            )
        read = weights.read(stored, 0, np.empty(int(np.prod(shape)), np.float32))
        if not np.isfinite(read).all():
            raise UserError(f"{weights.file_of[stored]}: '{stored}' holds NaN or infinity")
        entry = factors.setdefault(part["module"], {"embedding": bool(part["embedding"])})
        _require_new(part["which"], entry, weights, stored)
        entry[part["which"]] = read.reshape(shape).astype(np.float64)
    return factors, whole


def _require_new(name: str, known: Mapping[str, Any], weights: Weights, stored: str) -> None:
    if name in known:
        raise UserError(
            f"{weights.file_of[stored]}: '{stored}' is there a second time under another name; "
            "save the adapter again"
        )


def _product(
    path: Path,
    config: dict[str, Any],
    module: str,
    parts: dict[str, Any],
    shape: Shape,
    turned: bool,
) -> Product:
    """The factors in the order whose product has the shape of the base's tensor.

    Args:
        turned: whether a square tensor of the base is stored as (in, out).
    """
    if "A" not in parts or "B" not in parts:
        raise UserError(f"{path}: module '{module}' lacks lora_A or lora_B; fetch it again")
    a, b = parts["A"], parts["B"]
    require_rank(path, config, module, len(a))
    b = b * _scale(config, module, len(a))
    # a Conv1D (GPT-2) and an embedding keep the transpose of what a linear layer keeps
    transposed = parts["embedding"] or (b.shape[0], a.shape[1]) != shape
    # the shape of a square tensor cannot show whether it is transposed
    if not parts["embedding"] and len(set(shape)) == 1:
        transposed = turned
    left, right = (a.T, b.T) if transposed else (b, a)
    if (len(left), right.shape[1]) != shape or a.shape[0] != b.shape[1]:
        raise UserError(
            f"{path} is an adapter of another base: '{module}' is {list(shape)} in this base, and "
            f"its factors are {list(b.shape)} and {list(a.shape)}"
        )
    return Product(left, right)


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """s of a module; `alpha_pattern` holds exceptions by the ends of names."""
    alpha = pattern_value(config.get("alpha_pattern"), module, config["lora_alpha"])
    return alpha / (sqrt(rank) if config.get("use_rslora") else rank)
