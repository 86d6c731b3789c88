"""LoRA adapters as task vectors: tau = s B A, tensor by tensor (Hu et al., arXiv 2106.09685).

s = alpha / r, or alpha / sqrt(r) with `use_rslora` (arXiv 2312.03732). The product is taken in fp64
and rounded once to fp32: the mean of N adapters is the mean of their products.
"""

import json
import re
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..storage.reading import FLOATS, Weights
from ..storage.tensors import Shape
from .parameter_names import parameters, prefixes

CONFIG, FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# `init_lora_weights` by which PEFT also takes something off the base's weights
CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq")
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


def open_adapter(path: Path, base: Weights) -> Adapter:
    """Read the factors, which are small, of an adapter folder that PEFT has saved.

    Raises:
        UserError: it is not a plain LoRA, is broken, changes the base, or belongs to another one.
    """
    config = _read_config(path)
    weights = Weights([path / FILE])
    factors, whole = _sort_tensors(weights)
    if not factors and not whole:
        raise UserError(f"{path / FILE} holds no weights; fetch it again")

    # the adapter's names -> the base's
    shapes = parameters(base.layout)
    modules = [f"{module}.weight" for module in factors]
    before, without = prefixes([*modules, *whole], list(shapes))
    names = {before + name.removeprefix(without): name for name in shapes}
    for name in [*modules, *whole]:
        if name not in names:
            raise UserError(f"{path} is an adapter of another base, which has a tensor '{name}'")

    products = {}
    for module, parts in factors.items():
        name = names[f"{module}.weight"]
        products[name] = _product(path, config, module, parts, shapes[name])
    _require_one_orientation(path, config, list(products.values()))
    for name, stored in whole.items():
        if weights.layout[stored][1] != shapes[names[name]]:
            raise UserError(f"{path} is an adapter of another base: '{name}' has another shape")
    saved = {names[name]: stored for name, stored in whole.items()}
    return Adapter(str(path), weights, products, saved)


def _read_config(path: Path) -> dict[str, Any]:
    """The config of an adapter whose product is all that it changes."""
    file = path / CONFIG
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); fetch it again") from None
    if not isinstance(config, dict):
        raise UserError(f"{file} is not the config of an adapter; fetch it again")
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        raise UserError(
            f"{path} is not a plain LoRA adapter; merge it into its model, and name that"
        )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGE_THE_BASE):
        raise UserError(
            f"{path} was initialised by init_lora_weights {start}, which changes the base too; "
            "save it converted to a plain LoRA (PEFT's path_initial_model_for_weight_conversion), "
            "or merge it into its model, and name that"
        )
    patterns = config.get("alpha_pattern") or {}
    alphas = [config.get("lora_alpha"), *(patterns.values() if isinstance(patterns, dict) else [])]
    numbers = all(isinstance(a, int | float) and not isinstance(a, bool) for a in alphas)
    if not numbers or not isinstance(patterns, dict):
        raise UserError(f"{file}: lora_alpha or alpha_pattern is not a number; fetch it again")
    return config


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
            if "lora_" in name:
                raise UserError(
                    f"{weights.file_of[stored]}: '{stored}' is not part of a plain LoRA"
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
            "that the square ones cannot be told apart; merge it into its model, and name that"
        )


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """s of a module; `alpha_pattern` holds exceptions by the ends of names."""
    patterns = config.get("alpha_pattern") or {}
    matching = (alpha for end, alpha in patterns.items() if re.match(rf"(.*\.)?({end})$", module))
    alpha = next(matching, config["lora_alpha"])
    return alpha / (sqrt(rank) if config.get("use_rslora") else rank)
