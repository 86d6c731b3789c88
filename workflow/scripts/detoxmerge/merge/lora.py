"""LoRA adapters as task vectors: tau = s B A, tensor by tensor (Hu et al., arXiv 2106.09685).

s = alpha / r, or alpha / sqrt(r) with `use_rslora` (arXiv 2312.03732). The product is taken in fp64
and rounded once to fp32: the mean of N adapters is the mean of their products.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..models.tied_weights import same_bytes
from ..storage.reading import FLOATS, Weights
from ..storage.tensors import Shape
from .adapter_config import CONFIG, MERGE_IT, read_adapter_config
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
    embedding: bool
    transposed: bool  # whether the base's tensor is the transpose of what PEFT calls B A


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
    for name, meant in base.names_of([*(f"{module}.weight" for module in factors), *whole]).items():
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
        products[name] = _product(path, config, module, factors[module], shapes[name])
    _require_one_orientation(path, config, list(products.values()))
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
        if base.library is None and base.is_only_embedding(name):
            raise UserError(
                f"{path} saves '{kept[name]}' whole, which may be the base's output head, too; "
                "install transformers and torch beside this command, to tell"
            )
    for other, name in tied.items():
        if name in kept and sum(meant == name for meant in saved.values()) < 2:
            raise UserError(
                f"{path} saves '{kept[name]}' whole, and the base has one weight for it and for "
                f"'{other}', which PEFT leaves as it was: the two would differ; {MERGE_IT}, with a "
                "base in which they are two"
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
            whole[name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = stored
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
        entry[part["which"]] = read.reshape(shape).astype(np.float64)
    return factors, whole


def _product(
    path: Path, config: dict[str, Any], module: str, parts: dict[str, Any], shape: Shape
) -> Product:
    """The factors in the order whose product has the shape of the base's tensor."""
    if "A" not in parts or "B" not in parts:
        raise UserError(f"{path}: module '{module}' lacks lora_A or lora_B; fetch it again")
    a, b = parts["A"], parts["B"]
    b = b * _scale(config, module, len(a))
    # a Conv1D (GPT-2) and an embedding keep the transpose of what a linear layer keeps
    transposed = parts["embedding"] or (b.shape[0], a.shape[1]) != shape
    # the shape of a square tensor cannot show whether it is transposed
    if not parts["embedding"] and len(set(shape)) == 1:
        transposed = bool(config.get("fan_in_fan_out"))
    left, right = (a.T, b.T) if transposed else (b, a)
    product = Product(left, right, parts["embedding"], transposed)
    if (len(left), right.shape[1]) != shape or a.shape[0] != b.shape[1]:
        raise UserError(
            f"{path} is an adapter of another base: '{module}' is {list(shape)} in this base, and "
            f"its factors are {list(b.shape)} and {list(a.shape)}"
        )
    return product


def _require_one_orientation(path: Path, config: dict[str, Any], products: list[Product]) -> None:
    """Raise UserError if the config's one flag is wrong for some modules and some are square."""
    linear = [p for p in products if not p.embedding]
    square = [len(p.left) == p.right.shape[1] for p in linear]
    flag = bool(config.get("fan_in_fan_out"))
    if any(square) and any(p.transposed != flag for p in linear):
        raise UserError(
            f"{path}: fan_in_fan_out is {flag} in its config and wrong for some of its modules, so "
            "that the square ones cannot be told apart; " + MERGE_IT
        )


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """s of a module; `alpha_pattern` holds exceptions by the ends of names."""
    patterns = config.get("alpha_pattern") or {}
    matching = (alpha for end, alpha in patterns.items() if re.match(rf"(.*\.)?({end})$", module))
    alpha = next(matching, config["lora_alpha"])
    return alpha / (sqrt(rank) if config.get("use_rslora") else rank)
