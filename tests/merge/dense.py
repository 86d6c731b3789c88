"""Every operator once more: all vectors at once, dense, fp64, straight from its formula."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtri

Vector = dict[str, np.ndarray]


def flat(vector: Vector) -> np.ndarray:
    """All entries of a vector."""
    return np.concatenate([vector[name].ravel() for name in vector])


def each(formula: Callable[..., np.ndarray]) -> Callable[..., Vector]:
    """An operator that sees (N, ...) of one tensor at a time."""

    def merged(vectors: list[Vector], **params: Any) -> Vector:
        return {
            name: formula(np.array([s[name].astype(np.float64) for s in vectors]), name, **params)
            for name in vectors[0]
        }

    return merged


def elected_mean(values: np.ndarray) -> np.ndarray:
    """The disjoint mean of TIES, entry by entry."""
    result = np.zeros(values.shape[1:])
    for at in np.ndindex(result.shape):
        column = values[(slice(None), *at)]
        total = float(sum(column))
        agreeing = [v for v in column if v * total > 0 or (v and np.sign(v) == np.sign(total))]
        result[at] = sum(agreeing) / len(agreeing) if agreeing and total else 0.0
    return result


def ties(vectors: list[Vector], density: float = 0.2) -> Vector:
    """One threshold per vector, over all of its entries."""
    trimmed = []
    for vector in vectors:
        magnitudes = np.sort(np.abs(flat(vector)))[::-1]
        least = magnitudes[max(1, int(density * len(magnitudes))) - 1]
        trimmed.append({n: np.where(np.abs(v) < least, 0, v) for n, v in vector.items()})
    return each(lambda values, name: elected_mean(values))(trimmed)


def breadcrumbs(values: np.ndarray, name: str, density: float = 0.9, gamma: float = 0.01) -> Any:
    kept = []
    for value in values:
        n = value.size
        magnitudes = np.sort(np.abs(value), axis=None)[::-1]
        top, num = int(gamma * n), max(1, int(density * n))
        most, least = (magnitudes[top], magnitudes[top + num - 1]) if n else (0, 0)
        kept.append(np.where((np.abs(value) <= most) & (np.abs(value) >= least), value, 0))
    return np.mean(kept, axis=0)


def words(key: str, count: int) -> list[int]:
    """The generator's sequence from its beginning."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest(), "little")
    return [int(word) for word in np.random.PCG64DXSM(seed).random_raw(count)]


def draws(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Two draws of each word, 0 .. 1, for a whole tensor."""
    count = int(np.prod(shape, dtype=int))
    halves = [half for word in words(key, count) for half in (word % 2**32, word >> 32)]
    return np.array(halves[:count]).reshape(shape) / 2**32


def dare(
    values: np.ndarray,
    name: str,
    density: float = 0.5,
    elect: bool = False,
    operator_seed: int = 42,
) -> Any:
    masks = [draws(f"{operator_seed}/{i}/{name}", v.shape) < density for i, v in enumerate(values)]
    kept = np.array(masks) * values / density
    return elected_mean(kept) if elect else kept.mean(axis=0)


def della(
    values: np.ndarray,
    name: str,
    layout: str = "linear",
    density: float = 0.5,
    epsilon: float = 0.15,
    operator_seed: int = 42,
) -> Any:
    turned = layout == "conv1d" and values.ndim == 3 and "c_fc" in name
    kept = []
    for i, value in enumerate(values):
        draw = draws(f"{operator_seed}/{i}/{name}", value.shape)
        rows = [(value.T, draw.T)] if turned else [(value, draw)]
        (value, draw), result = rows[0], np.zeros(rows[0][0].shape)
        for at in np.ndindex(value.shape[:-1]):
            row = np.atleast_1d(value[at])
            ranked = sorted(range(len(row)), key=lambda j, row=row: (abs(row[j]), j))
            p = np.full(len(row), density)
            for rank, j in enumerate(ranked):
                if len(row) > 1:
                    p[j] = density - epsilon + 2 * epsilon * rank / (len(row) - 1)
            result[at] = ((draw[at] < p) * row / p).reshape(value[at].shape)
        kept.append(result.T if turned else result)
    return elected_mean(np.array(kept))


def negmerge(values: np.ndarray, name: str, consensus: float = 1.0) -> Any:
    agree = abs(np.sign(values).sum(axis=0)) >= round(consensus * len(values), 9)
    return agree * values.mean(axis=0)


def magmax(values: np.ndarray, name: str) -> Any:
    last = len(values) - 1 - np.argmax(np.abs(values)[::-1], axis=0)
    return np.take_along_axis(values, np.asarray(last)[None], axis=0)[0]


def tall_consensus(
    values: np.ndarray, name: str, mask_lambda: float = 0.2, min_shards: int = 2
) -> Any:
    whole = values.sum(axis=0)
    masks = np.abs(values) > mask_lambda * np.abs(whole - values)
    return (masks.sum(axis=0) >= min_shards) * whole / len(values)


def model_stock(values: np.ndarray, name: str) -> Any:
    n, vectors = len(values), values.reshape(len(values), -1)
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) if a.any() and b.any() else 0.0
        for i, a in enumerate(vectors)
        for b in vectors[:i]
    ]
    c = max(0.0, float(np.mean(cosines)))
    return n * c / (1 + (n - 1) * c) * values.mean(axis=0)


def snr(values: np.ndarray, name: str, threshold: float | None = None) -> Any:
    n, mean, s = len(values), values.mean(axis=0), values.std(axis=0, ddof=1)
    if threshold is not None:
        return (np.abs(mean) >= threshold * s / n**0.5) * mean
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.maximum(0, 1 - s**2 / (n * mean**2))
    return np.where(mean == 0, 0, factor * mean)


def random(values: np.ndarray, name: str, operator_seed: int = 42) -> Any:
    mean = values.mean(axis=0)
    uniforms = [
        ((word >> 12) + 0.5) / 2**52 for word in words(f"{operator_seed}/{name}", mean.size)
    ]
    z = ndtri(np.array(uniforms)).reshape(mean.shape)
    return z * np.linalg.norm(mean) / np.linalg.norm(z) if z.size else z


def trimmed_mean(values: np.ndarray, name: str, trim: float = 0.2) -> Any:
    cut = int(round(trim * len(values), 9))
    return np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0)


def weighted(values: np.ndarray, name: str, weights: list[float]) -> Any:
    return np.tensordot(weights, values, axes=1)
