"""Ranks among N arrays, entry by entry, by a sorting network: it compares whole arrays.

Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M) sorts any
number of lanes by a fixed list of comparators. Those that no wanted rank depends on are left out.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np


def ranked(arrays: list[np.ndarray], ranks: range) -> list[np.ndarray]:
    """Order statistics of N values, entry by entry.

    Args:
        arrays: N of one shape and dtype, finite; they are not changed.
        ranks: which ones; 0 is the smallest of N values.

    Returns:
        The array of each rank, in their order. The two zeros are equal, so a zero may have either
        sign.
    """
    lanes = [array.copy() for array in arrays]
    spare = np.empty_like(lanes[0])
    for low, high, needs_low, needs_high in network(len(arrays), ranks):
        a, b = lanes[low], lanes[high]
        if needs_low:
            lanes[low], spare = np.minimum(a, b, out=spare), a
        if needs_high:
            np.maximum(a, b, out=b)
    return [lanes[rank] for rank in ranks]


@cache
def network(n: int, ranks: range) -> list[tuple[int, int, bool, bool]]:
    """The comparators that some ranks of n lanes depend on.

    Args:
        n: number of lanes, 1 or more.
        ranks: which of the sorted lanes are used.

    Returns:
        In the order of their use: the lane that gets the smaller value, the lane that gets the
        larger one, and for each whether anything depends on it.
    """
    # backwards: a comparator counts if a later one, or a rank, uses what it gives
    needed, kept = set(ranks), []
    for low, high in reversed(list(_merge_exchange(n))):
        if low in needed or high in needed:
            kept.append((low, high, low in needed, high in needed))
            needed |= {low, high}
    return kept[::-1]


def _merge_exchange(n: int) -> Iterator[tuple[int, int]]:
    """Comparators that sort n lanes."""
    top = 1 << (n - 1).bit_length() >> 1
    p = top
    while p:
        q, r, d = top, 0, p
        while d:
            yield from ((i, i + d) for i in range(n - d) if i & p == r)
            q, r, d = q >> 1, p, q - p
        p >>= 1
