"""The median, entry by entry; for an even N the mean of the two in the middle.

Robust aggregation (Yin et al., ICML 2018, arXiv 1803.01498): one fine-tune that
went astray moves it little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...plan.entries import Entry
from .mean import mean

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Yin et al., ICML 2018"
VERSION = 1


class Params(Entry):
    """There are none."""


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """What is left without the (N - 1) // 2 smallest and largest values."""
    n = len(block.deltas)
    return middle(block.deltas, (n - 1) // 2)


def middle(deltas: list[np.ndarray], cut: int) -> np.ndarray:
    """The mean of each entry's values without the `cut` smallest and the `cut` largest; fp64."""
    from ..sorting_network import ranked

    kept = ranked(deltas, range(cut, len(deltas) - cut))
    return mean(kept) + 0.0  # a comparator may pass on either zero; this makes all +0
