"""The N task vectors of one fine-tuning set: one streamed pass, a row per tensor.

What is below a threshold is counted in the means of subsets of the shards, rounded to fp32 and
without structural zeros, just as `change` counts it in a merged vector. This gives a curve over N
from one set of fine-tunes: its first point is one shard, its last the merged vector.
"""

from collections.abc import Mapping
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..merge.operators.mean import mean
from ..merge.parameter_names import layer_of
from ..merge.side_by_side import open_deltas
from ..storage.artefacts import certified, publish, sha256, write_manifest
from .change import FROM_ZERO, THRESHOLDS, log_histogram, module_type, without_structural_zeros
from .gram import cosines
from .shard_groups import curve, groups, is_embedding

BLOCK_ELEMENTS = 1 << 15  # of one shard; so few that all subsets are summed in the cache

LISTS = ("gram", "agreement", "counted", *(f"below_{t:g}" for t in THRESHOLDS))

Subset = tuple[int, ...]


def choose_subsets(n: int, max_subsets: int, seed: int) -> list[Subset]:
    """Subsets of N shards, of every size.

    Args:
        max_subsets: of one size. If there are more, this many different ones are drawn, each
            equally likely; single shards are always all taken.

    Returns:
        Sorted shard numbers; sorted by size, then by number. The last one is all shards.
    """
    subsets: list[Subset] = []
    for k in range(1, n + 1):
        if k == 1 or comb(n, k) <= max_subsets:
            subsets += combinations(range(n), k)
            continue
        rng = np.random.default_rng([seed, n, k])
        drawn: set[Subset] = set()
        while len(drawn) < max_subsets:
            drawn.add(tuple(sorted(rng.choice(n, k, replace=False).tolist())))
        subsets += sorted(drawn)
    return subsets


def shard_statistics(
    manifests: list[Path],
    tensors: list[Path],
    protocol: Mapping[str, Any],
    shards: Mapping[str, Any],
    out: Path,
    table: Path,
) -> None:
    """Measure what N task vectors have in common.

    Memory holds one block of each shard, in fp32 and fp64. Sums are taken in one order whatever the
    number of threads, so the bytes do not depend on it.

    Args:
        manifests: `meta.json` of the fine-tunes, in the order of the shards.
        tensors: their task vectors, fp32, in the same order.
        protocol: `max_subsets` and `seed` of `choose_subsets`.
        shards: `dataset`, `recipe`, `n` and `seed`, to be recorded.
        out: manifest: Gram matrix and cosines with and without embeddings, the statistics of
            `shard_groups.groups`, the curve over the size of a subset, one shard's histogram.
        table: parquet, one row per tensor: `tensor`, `module`, `layer`, `elements`, and lists:
            `gram` (N x N, row by row), `agreement` (entries by max(#positive, #negative), 0..N),
            and, in the order of the manifest's `subsets`, `counted` (elements that are not
            structural zeros) and `below_E` for each threshold.

    Raises:
        UserError: a vector is broken, is not the one of its manifest, holds NaN or infinity, or
            belongs to another model than the first.
    """
    for manifest, path in zip(manifests, tensors, strict=True):
        certified(manifest, path.name)
    subsets = choose_subsets(len(tensors), protocol["max_subsets"], protocol["seed"])
    frame, histogram = _measure(tensors, subsets)
    # parquet has lists, but no matrices
    flat = frame.assign(**{name: [array.ravel() for array in frame[name]] for name in LISTS})
    with publish(table) as part:
        flat.to_parquet(part, index=False)
    parts = {"all": frame, "without_embeddings": frame[~is_embedding(frame)]}
    grams = {name: sum(part["gram"]) for name, part in parts.items()}
    counted = sum(frame["counted"])[: len(tensors)].sum()  # single shards are the first subsets
    num_elements = int(frame["elements"].sum()) * len(tensors)
    write_manifest(
        out,
        protocol=protocol,
        inputs=manifests,
        files={table.name: sha256(table)},
        shards=dict(shards),
        subsets=["+".join(map(str, subset)) for subset in subsets],
        gram={name: gram.tolist() for name, gram in grams.items()},
        cosines={name: _null_for_nan(cosines(gram)) for name, gram in grams.items()},
        groups=groups(frame, subsets),
        curves={name: curve(part, subsets) for name, part in parts.items()},
        one_shard={
            "num_elements": num_elements,
            "num_structural_zeros": int(num_elements - counted),
            "histogram_log10": log_histogram(histogram),
        },
    )
    print(f"{len(tensors)} shards, {len(frame)} tensors, {len(subsets)} subsets")


def _measure(tensors: list[Path], subsets: list[Subset]) -> tuple[pd.DataFrame, np.ndarray]:
    """A row per tensor, and the histogram of |delta| of all shards."""
    n, vectors = len(tensors), open_deltas(tensors)
    # merging sums in the order of the paths, and the last bit of a mean depends on the order
    ranks = {i: rank for rank, i in enumerate(vectors.order)}
    summed = [sorted(subset, key=ranks.__getitem__) for subset in subsets]
    rows = {name: _row(name, shape, n, len(subsets)) for name, shape in vectors.shapes.items()}
    histogram = np.zeros(len(FROM_ZERO) - 1, dtype=np.int64)
    for place in vectors.places(BLOCK_ELEMENTS):
        block, name = vectors.read(place), place.tensor
        # deltas come in the order of the paths; what is written has that of the shards
        stack = np.array([block.deltas[ranks[i]] for i in range(n)], dtype=np.float64)
        _add_products_and_signs(rows[name], stack.reshape(n, -1))
        _add_unchanged(rows[name], stack, summed, histogram)
    frame = pd.DataFrame(list(rows.values()))
    return frame.assign(layer=frame["layer"].astype("Int64")), histogram


def _row(name: str, shape: tuple[int, ...], n: int, num_subsets: int) -> dict[str, Any]:
    row: dict[str, Any] = {"tensor": name, "module": module_type(name), "layer": layer_of(name)}
    row |= {"elements": int(np.prod(shape, dtype=np.int64)), "gram": np.zeros((n, n))}
    row["agreement"] = np.zeros(n + 1, dtype=np.int64)
    # `counted` and `below_E`, by subset
    return row | {name: np.zeros(num_subsets, dtype=np.int64) for name in LISTS[2:]}


def _add_products_and_signs(row: dict[str, Any], vectors: np.ndarray) -> None:
    """Add inner products and sign agreement of a block, (N, elements), fp64."""
    n = len(vectors)
    for i in range(n):
        # not by BLAS: it splits the sum over its threads, and the last bits depend on their number
        products = np.einsum("b,jb->j", vectors[i], vectors[i:])
        row["gram"][i, i:] += products
        row["gram"][i + 1 :, i] += products[1:]
    positive = (vectors > 0).sum(axis=0)[(vectors != 0).all(axis=0)]
    row["agreement"] += np.bincount(np.maximum(positive, n - positive), minlength=n + 1)


def _add_unchanged(
    row: dict[str, Any], stack: np.ndarray, subsets: list[list[int]], histogram: np.ndarray
) -> None:
    """Add the counts of the mean of each subset; and single shards to the histogram."""
    for s, subset in enumerate(subsets):
        vector = mean([stack[i] for i in subset]).astype(np.float32)
        size = np.abs(without_structural_zeros(vector, row["module"])).reshape(-1)
        row["counted"][s] += size.size
        for t in THRESHOLDS:
            row[f"below_{t:g}"][s] += np.count_nonzero(size < t)
        if len(subset) == 1:
            histogram += np.histogram(size, FROM_ZERO)[0]


def _null_for_nan(matrix: np.ndarray) -> list[list[float | None]]:
    return [[value if np.isfinite(value) else None for value in row] for row in matrix.tolist()]
