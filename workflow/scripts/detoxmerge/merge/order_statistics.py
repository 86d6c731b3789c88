"""Exact order statistics of magnitudes, streamed: how large the k-th largest |x| is.

The bits of an fp32 number without its sign, read as an integer, have the order of |x|. A sample
says between which two magnitudes the wanted one lies, all but certainly; one pass counts what is
above, and gathers what is between. Where there is no sample, or it was wrong, two passes count all:
the first by the upper 16 of these 31 bits, the second by the lower 15 of those in rank k's bin.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

LOW_BITS = 15
LARGEST = 0x7FFFFFFF
SPREAD = 8  # distance of a bracket's ends from a sampled rank, in the rank's standard deviations
TO_GATHER = 1 << 19  # values that are kept one by one, before equal ones are counted
NUM_HIGH, NUM_LOW = 1 << (31 - LOW_BITS), 1 << LOW_BITS

T = TypeVar("T")


class Pass(Protocol):
    """One pass over the vectors: calls a function with lists of N arrays, yields the results."""

    def __call__(self, function: Callable[[list[np.ndarray]], T], /) -> Iterable[T]: ...


def nth_largest(
    over: Pass, ranks: list[int], sample: Sequence[np.ndarray] = (), size: int = 0
) -> np.ndarray:
    """The magnitudes of some ranks in each of N vectors.

    In memory are, for each worker, a block of each vector, and some MB of counts or of what lies
    between the ends of a bracket.

    Args:
        over: makes one pass over the vectors: it calls a function with lists of N arrays, fp32 and
            finite, and yields the results. How the vectors are cut changes nothing.
        ranks: 1 is the largest, and so on, up to the number of elements.
        sample: N arrays of elements of the vectors, which only decide the time; may be empty.
        size: elements of a vector, where there is a sample.

    Returns:
        (N, len(ranks)), fp32. At least k elements are as large as the k-th largest; more, if some
        are equal.
    """
    bits = None
    if sample:
        brackets = [_brackets(array, ranks, size) for array in sample]
        bits = _between(over, ranks, brackets)
    return (_counted(over, ranks) if bits is None else bits).view(np.float32)


def _brackets(sample: np.ndarray, ranks: list[int], size: int) -> list[tuple[int, int]]:
    """Magnitudes, as bits, between which each rank's lies if the sample is a good one."""
    ordered = np.sort(_magnitude(sample))[::-1]
    brackets = []
    for rank in ranks:
        # the rank's place in the sample is binomial, and so is its standard deviation
        expected = rank * len(ordered) / size
        margin = SPREAD * (1 + (expected * max(0.0, 1 - expected / len(ordered))) ** 0.5)
        first, last = int(expected - margin), int(expected + margin)
        low = int(ordered[last]) if last < len(ordered) else 0
        brackets.append((low, int(ordered[first]) if first >= 0 else LARGEST))
    return brackets


def _between(
    over: Pass, ranks: list[int], brackets: list[list[tuple[int, int]]]
) -> np.ndarray | None:
    """The bits of the magnitudes, (N, len(ranks)); None if a bracket does not hold its rank."""
    every = [(i, k) for i in range(len(brackets)) for k in range(len(ranks))]

    def look(arrays: list[np.ndarray]) -> list[tuple[int, np.ndarray]]:
        """For each bracket the number of values above it, and the values in it."""
        bits, results = [_magnitude(array) for array in arrays], []
        for i, k in every:
            low, high = map(np.uint32, brackets[i][k])
            inside = np.flatnonzero(bits[i] - low <= high - low)  # what is below low wraps around
            not_below = int(np.count_nonzero(bits[i] >= low))
            results.append((not_below - len(inside), bits[i].take(inside)))
        return results

    above, tallies = np.zeros(len(every), np.int64), [_Tally() for _ in every]
    for results in over(look):
        for bracket, (count, inside) in enumerate(results):
            above[bracket] += count
            tallies[bracket].add(inside)

    # the rank among all, less what is above the bracket, is the rank within it
    magnitudes = np.zeros((len(brackets), len(ranks)), np.uint32)
    for (i, k), num_above, tally in zip(every, above, tallies, strict=True):
        values, counts = tally.counted()
        rank = ranks[k] - int(num_above)
        if not 0 < rank <= counts.sum():
            return None
        magnitudes[i, k] = values[_find(counts, rank)[0]]
    return magnitudes


class _Tally:
    """Counts values; it takes the memory of the different ones."""

    def __init__(self) -> None:
        self._values, self._counts = np.zeros(0, np.uint32), np.zeros(0, np.int64)
        self._more: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        self._more.append(values)
        if sum(map(len, self._more)) > TO_GATHER:
            self.counted()

    def counted(self) -> tuple[np.ndarray, np.ndarray]:
        """The different values from the smallest, and their counts."""
        values, counts = np.unique(np.concatenate([self._values, *self._more]), return_counts=True)
        # a value that was counted before is in the list once, and not as often as it was
        counts[np.searchsorted(values, self._values)] += self._counts - 1
        self._values, self._counts, self._more = values, counts, []
        return values, counts


def _counted(over: Pass, ranks: list[int]) -> np.ndarray:
    """What `_between` finds, from two passes that fill tables of counts, 0.8 MB each at most."""
    high = _sum(over(lambda arrays: [_count_high(_magnitude(array)) for array in arrays]))
    # (vector, rank) -> its bin by the upper bits, and its rank within the bin
    bins = {(i, k): _find(counts, k) for i, counts in enumerate(high) for k in ranks}

    def count_low(arrays: list[np.ndarray]) -> list[np.ndarray]:
        bits = [_magnitude(array) for array in arrays]
        upper = [magnitudes >> LOW_BITS for magnitudes in bits]
        inside = (bits[i][upper[i] == top] & (NUM_LOW - 1) for (i, _), (top, _) in bins.items())
        return [np.bincount(part, minlength=NUM_LOW) for part in inside]

    low = dict(zip(bins, _sum(over(count_low)), strict=True))
    magnitudes = [
        [(bins[i, k][0] << LOW_BITS) | _find(low[i, k], bins[i, k][1])[0] for k in ranks]
        for i in range(len(high))
    ]
    return np.array(magnitudes, np.uint32)


def by_rank(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each entry the value that belongs to the rank of its magnitude in its row.

    Args:
        rows: (rows, length), fp32.
        values: (length,), fp64, for the smallest to the largest magnitude; equal magnitudes are
            ranked by their place.

    Returns:
        (rows, length), fp64.
    """
    num_rows, length = rows.shape
    # a magnitude's bits have its order; with the place below them no two are equal
    keys = _magnitude(rows).reshape(rows.shape).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(length, dtype=np.uint64)
    keys.sort(axis=-1)
    # the lower halves of the sorted keys are the places of the ranks, here in the whole array
    places = keys.view(np.int64)
    places &= 0xFFFFFFFF
    places += length * np.arange(num_rows)[:, None]
    result = np.empty(rows.size)
    result[places.reshape(-1)] = np.tile(values, num_rows)
    return result.reshape(rows.shape)


def _sum(results: Iterable[list[np.ndarray]]) -> list[np.ndarray]:
    """The sum of each table of counts over all blocks."""
    totals: list[np.ndarray] = []
    for tables in results:
        for total, table in zip(totals, tables, strict=bool(totals)):
            total += table
        totals = totals or tables
    return totals


def _count_high(bits: np.ndarray) -> np.ndarray:
    return np.bincount(bits >> LOW_BITS, minlength=NUM_HIGH)


def _magnitude(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint32) & np.uint32(0x7FFFFFFF)


def _find(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """The bin of the element with a rank, counted from the top, and its rank within the bin."""
    from_top = np.cumsum(counts[::-1])
    i = int(np.searchsorted(from_top, rank))
    return len(counts) - 1 - i, rank - int(from_top[i - 1] if i else 0)
