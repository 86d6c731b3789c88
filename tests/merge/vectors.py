"""Task vectors for the tests of the operators, and merging them by way of files."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from merge.operator_cases import case_of
from safetensors.numpy import load_file, save_file

from detoxmerge.merge.merging import merge_deltas
from detoxmerge.plan.registry import OPERATORS

SHAPES = {
    "h.0.mlp.c_fc.weight": (6, 9),
    "h.0.mlp.c_fc.bias": (9,),
    "h.1.experts": (2, 3, 5),
    "ln_f.weight": (1,),
    "scalar": (),
    "empty": (0, 4),
    "wte.weight": (11, 6),
}


def task_vectors(n: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Vectors with something in common, ties, zeros of either sign, huge and tiny values."""
    rng = np.random.default_rng(seed)
    return [{name: _values(rng, shape, seed) for name, shape in SHAPES.items()} for _ in range(n)]


def _values(rng: np.random.Generator, shape: tuple[int, ...], seed: int) -> np.ndarray:
    common = np.random.default_rng([seed, *shape]).standard_normal(shape)
    values = common + rng.standard_normal(shape)
    kind = rng.random(shape)
    values = np.where(kind < 0.3, np.round(values), values)  # ties, zeros
    exponents = np.random.default_rng([seed, 1, *shape]).integers(-42, 30, shape)
    values = values * np.where(kind > 0.8, 10.0**exponents, 1.0)  # subnormals, huge ones
    return np.asarray(np.where(kind < 0.05, -0.0, values), np.float32)


def write(vectors: list[dict[str, np.ndarray]], folder: Path) -> list[Path]:
    """A file per vector, in an order that is that of its names, too."""
    paths = [folder / f"vector{i:02}.safetensors" for i in range(len(vectors))]
    for vector, path in zip(vectors, paths, strict=True):
        save_file(vector, path)
    return paths


def params_of(operator: str, **params: Any) -> Any:
    """An operator's parameters; those without a default as in its case, if they are not given."""
    kind, four = OPERATORS[operator].Params, case_of(operator).four
    required = {n: four[n] for n, field in kind.model_fields.items() if field.is_required()}
    return kind(**required | params)


def merge(
    vectors: list[dict[str, np.ndarray]], operator: str, params: Any = None, **how: Any
) -> dict[str, np.ndarray]:
    """The merged vector.

    Args:
        vectors: N, with the tensors of `SHAPES` or others.
        operator: name.
        params: of `params_of`, or a mapping of what is not default.
        how: more arguments of `merge_deltas`.
    """
    if params is None or isinstance(params, dict):
        params = params_of(operator, **params or {})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.safetensors"
        merge_deltas(write(vectors, Path(folder)), operator, out, params, **how)
        return load_file(out)
