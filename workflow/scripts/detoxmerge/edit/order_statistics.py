"""Exact order statistics of magnitudes, streamed: how large the k-th largest |x| is.

|x| of fp32, read as an integer without its sign bit, has the order of |x|. Two passes count: the
first by the upper 16 of these 31 bits, the second by the lower 15 of those in the bin of rank k.
"""

from collections.abc import Callable, Iterable

import numpy as np

LOW_BITS = 15
NUM_HIGH, NUM_LOW = 1 << (31 - LOW_BITS), 1 << LOW_BITS


def nth_largest(blocks: Callable[[], Iterable[list[np.ndarray]]], ranks: list[int]) -> np.ndarray:
    """The magnitudes of some ranks in each of N vectors.

    In memory are a block of each vector and (1 + len(ranks)) N tables of counts, 0.8 MB at most.

    Args:
        blocks: starts a pass; gives lists of N arrays, fp32 and finite. How the vectors are cut
            into blocks changes nothing.
        ranks: 1 is the largest, and so on; none is beyond the number of elements.

    Returns:
        (N, len(ranks)), fp32. At least k elements are as large as the k-th largest; more, if some
        are equal.
    """
    high: dict[int, np.ndarray] = {}
    for arrays in blocks():
        for i, array in enumerate(arrays):
            counts = np.bincount(_magnitude(array) >> LOW_BITS, minlength=NUM_HIGH)
            high[i] = high[i] + counts if i in high else counts
    at = {(i, k): _find(counts, k) for i, counts in high.items() for k in ranks}
    low = {key: np.zeros(NUM_LOW, np.int64) for key in at}
    for arrays in blocks():
        for i, array in enumerate(arrays):
            bits = _magnitude(array)
            for k in ranks:
                inside = bits[bits >> LOW_BITS == at[i, k][0]]
                low[i, k] += np.bincount(inside & (NUM_LOW - 1), minlength=NUM_LOW)
    found = [
        [at[i, k][0] << LOW_BITS | _find(low[i, k], at[i, k][1])[0] for k in ranks] for i in high
    ]
    return np.array(found, np.uint32).view(np.float32)


def _magnitude(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint32) & np.uint32(0x7FFFFFFF)


def _find(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """The bin of the element of a rank, from the top, and its rank within the bin."""
    from_top = np.cumsum(counts[::-1])
    i = int(np.searchsorted(from_top, rank))
    return len(counts) - 1 - i, rank - int(from_top[i - 1] if i else 0)
