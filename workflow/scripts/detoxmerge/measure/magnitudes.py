"""How many magnitudes lie between given edges: exactly, and by a table instead of a search.

The bits of an fp32 without its sign, read as an integer, are ordered like |x|. The upper bits tell
which edges |x| lies between, except where an edge falls among the values that share them. These few
values are searched.
"""

import numpy as np

LOW_BITS = 12  # leaves 11 of the mantissa: about 2 % of values share them with a log edge
MAGNITUDE = np.uint32(0x7FFFFFFF)


def cuts(edges: np.ndarray, *, last_bin_closed: bool = False) -> np.ndarray:
    """Where edges fall among the magnitudes of fp32.

    Args:
        edges: 0 or more, fp64.
        last_bin_closed: whether a value equal to the last edge counts as below it, as in
            `numpy.histogram`.

    Returns:
        uint32, the bits of the least fp32 that is not below each edge: |x| < edge exactly if the
        bits of |x| are less.
    """
    rounded = edges.astype(np.float32)
    bits = rounded.view(np.uint32) + (rounded < edges)
    if last_bin_closed:
        bits[-1] += rounded[-1] == edges[-1]
    return bits.astype(np.uint32)


class Counter:
    """Counts magnitudes between cuts."""

    def __init__(self, *groups: np.ndarray) -> None:
        """Between all cuts of these groups, each of `cuts`, in any order."""
        self._cuts = np.unique(np.concatenate(groups))
        self.num_bins = len(self._cuts) + 1
        # a table by the upper bits; num_bins where an edge falls among the values that share them
        lowest = np.arange(1 << 31 - LOW_BITS, dtype=np.uint32) << LOW_BITS
        first = self._bins(lowest)
        undecided = first != self._bins(lowest | (1 << LOW_BITS) - 1)
        table = np.where(undecided, self.num_bins, first).astype(np.uint16)
        self._table = np.concatenate([table, table])  # the upper bits begin with the sign

    def count(self, values: np.ndarray) -> np.ndarray:
        """Magnitudes in each bin, which reaches from one cut to the next.

        Args:
            values: fp32, one axis, contiguous.

        Returns:
            (num_bins,), int64.
        """
        bits = values.view(np.uint32)
        upper = (bits >> LOW_BITS).view(np.int32)
        bins = self._table.take(upper, mode="clip")  # the fastest mode; no index is out of range
        counts = np.bincount(bins, minlength=self.num_bins + 1)[:-1]
        # what the table does not decide is searched
        rest = bits[np.flatnonzero(bins == self.num_bins)] & MAGNITUDE
        return counts + np.bincount(self._bins(rest), minlength=self.num_bins)

    def below(self, counts: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """How many magnitudes are below cuts.

        Args:
            counts: of `count`, or a sum of such.
            cuts: some of those that the counter was made with.

        Returns:
            int64, the shape of `cuts`.
        """
        return np.cumsum(counts)[np.searchsorted(self._cuts, cuts)]

    def _bins(self, bits: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._cuts, bits, side="right")
