"""How many magnitudes lie between given edges: exactly, and by a table instead of a search.

|x| of fp32, read as an integer without its sign bit, has the order of |x|. Its upper bits tell
which edges it lies between, except where an edge falls among the values that share them: these few
are searched.
"""

import numpy as np

LOW_BITS = 12  # leaves 11 of the mantissa: about 2 of 100 values share them with a log edge
MAGNITUDE = np.uint32(0x7FFFFFFF)


def cuts(edges: np.ndarray, *, last_bin_closed: bool = False) -> np.ndarray:
    """Where edges fall among the magnitudes of fp32.

    Args:
        edges: 0 or more, fp64.
        last_bin_closed: whether what equals the last edge is to be below it, as in
            `numpy.histogram`.

    Returns:
        uint32, the bits of the least fp32 that is not below each edge; |x| < edge just if the bits
        of |x| are below.
    """
    near = edges.astype(np.float32)
    found = near.view(np.uint32) + (near < edges)
    if last_bin_closed:
        found[-1] += near[-1] == edges[-1]
    return found.astype(np.uint32)


class Counter:
    """Counts magnitudes between cuts."""

    def __init__(self, *groups: np.ndarray) -> None:
        """
        Args:
            groups: of `cuts`, in any order.
        """
        self._cuts = np.unique(np.concatenate(groups))
        self.num_bins = len(self._cuts) + 1
        lowest = np.arange(1 << 31 - LOW_BITS, dtype=np.uint32) << LOW_BITS
        first = self._bins(lowest)
        open_ = first != self._bins(lowest | (1 << LOW_BITS) - 1)
        table = np.where(open_, self.num_bins, first).astype(np.uint16)
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
        bins = self._table.take(upper, mode="clip")  # of all modes the fastest; nothing is beyond
        counts = np.bincount(bins, minlength=self.num_bins + 1)[:-1]
        rest = bits[np.flatnonzero(bins == self.num_bins)] & MAGNITUDE
        return counts + np.bincount(self._bins(rest), minlength=self.num_bins)

    def below(self, counts: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """How many magnitudes are below cuts.

        Args:
            counts: of `count`; sums of such, too.
            cuts: some that the counter was made of.

        Returns:
            int64, the shape of cuts.
        """
        return np.cumsum(counts)[np.searchsorted(self._cuts, cuts)]

    def _bins(self, bits: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._cuts, bits, side="right")
