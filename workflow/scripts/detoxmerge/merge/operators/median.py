"""The median, entry by entry; of an even N the mean of the two in the middle.

Robust aggregation (Yin et al., ICML 2018, arXiv 1803.01498): a fine-tune that went astray moves it
little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from .mean import mean

if TYPE_CHECKING:
    import numpy as np

REFERENCE = "Yin et al., ICML 2018"
VERSION = 1


class Params(BaseModel, extra="forbid", strict=True, allow_inf_nan=False):
    """None."""


def merge(block: Any, params: Params, context: None) -> np.ndarray:
    """A block of the median."""
    n = len(block.deltas)
    return middle(block.deltas, (n - 1) // 2)


def middle(deltas: list[np.ndarray], cut: int) -> np.ndarray:
    """The mean of what is left of each entry without its smallest and largest values.

    Args:
        deltas: N arrays of one shape, fp32.
        cut: how many values go at each end.

    Returns:
        fp64, the shape of one.
    """
    from ..sorting_network import ranked

    kept = ranked(deltas, range(cut, len(deltas) - cut))
    return mean(kept) + 0.0  # which zero's sign a comparator hands on is the processor's choice
