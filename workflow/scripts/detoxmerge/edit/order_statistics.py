"""Exact order statistics of magnitudes, streamed: how large the k-th largest |x| is.

|x| of fp32, read as an integer without its sign bit, has the order of |x|. Two passes count: the
first by the upper 16 of these 31 bits, the second by the lower 15 of those in the bin of rank k.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

LOW_BITS = 15
NUM_HIGH, NUM_LOW = 1 << (31 - LOW_BITS), 1 << LOW_BITS

Pass = Callable[[Callable[[list[np.ndarray]], list[np.ndarray]]], Iterable[Any]]


def nth_largest(over: Pass, ranks: list[int]) -> np.ndarray:
    """The magnitudes of some ranks in each of N vectors.

    In memory are, for each thread, a block of each vector and (1 + len(ranks)) N tables of counts,
    of 0.8 MB at most.

    Args:
        over: goes once over the vectors: gives a function lists of N arrays, fp32 and finite, and
            yields its results. How the vectors are cut into blocks changes nothing.
        ranks: 1 is the largest, and so on; none is beyond the number of elements.

    Returns:
        (N, len(ranks)), fp32. At least k elements are as large as the k-th largest; more, if some
        are equal.
    """
    high = _sum(over(lambda arrays: [_count_high(_magnitude(array)) for array in arrays]))
    at = {(i, k): _find(counts, k) for i, counts in enumerate(high) for k in ranks}

    def count_low(arrays: list[np.ndarray]) -> list[np.ndarray]:
        bits = [_magnitude(array) for array in arrays]
        upper = [of_array >> LOW_BITS for of_array in bits]
        inside = (bits[i][upper[i] == top] & (NUM_LOW - 1) for (i, _), (top, _) in at.items())
        return [np.bincount(part, minlength=NUM_LOW) for part in inside]

    low = dict(zip(at, _sum(over(count_low)), strict=True))
    found = [
        [at[i, k][0] << LOW_BITS | _find(low[i, k], at[i, k][1])[0] for k in ranks]
        for i in range(len(high))
    ]
    return np.array(found, np.uint32).view(np.float32)


def by_rank(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """To each entry the value of the rank that its magnitude has in its row.

    Args:
        rows: (rows, length), fp32.
        values: (length,), fp64, from the smallest to the largest magnitude; equal ones are ranked
            by their place.

    Returns:
        (rows, length), fp64.
    """
    num_rows, length = rows.shape
    # a magnitude's bits have its order; with the place below them no two are equal
    keys = _magnitude(rows).reshape(rows.shape).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(length, dtype=np.uint64)
    keys.sort(axis=-1)
    places = keys.view(np.int64)
    places &= 0xFFFFFFFF
    places += length * np.arange(num_rows)[:, None]
    found = np.empty(rows.size)
    found[places.reshape(-1)] = np.tile(values, num_rows)
    return found.reshape(rows.shape)


def _sum(results: Iterable[list[np.ndarray]]) -> list[np.ndarray]:
    """Tables of counts, over all blocks."""
    found: list[np.ndarray] = []
    for tables in results:
        for total, table in zip(found, tables, strict=bool(found)):
            total += table
        found = found or tables
    return found


def _count_high(bits: np.ndarray) -> np.ndarray:
    return np.bincount(bits >> LOW_BITS, minlength=NUM_HIGH)


def _magnitude(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint32) & np.uint32(0x7FFFFFFF)


def _find(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """The bin of the element of a rank, from the top, and its rank within the bin."""
    from_top = np.cumsum(counts[::-1])
    i = int(np.searchsorted(from_top, rank))
    return len(counts) - 1 - i, rank - int(from_top[i - 1] if i else 0)
