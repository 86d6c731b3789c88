"""The mean, entry by entry: tau* = (1/N) sum_i tau_i.

N = 1 is the single task vector of Ilharco et al. (ICLR 2023, arXiv 2212.04089), N > 1 the merged
one of Kim et al. (COLM 2024, openreview.net/forum?id=TBNYjdOazs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    import numpy as np

REFERENCE = "Kim et al., COLM 2024"


class Params(BaseModel, extra="forbid", strict=True, allow_inf_nan=False):
    """None."""


def merge(block: Any, params: Params, context: None) -> np.ndarray:
    """A block of the mean."""
    return mean(block.deltas)


def mean(deltas: list[np.ndarray]) -> np.ndarray:
    """The mean of some arrays.

    Args:
        deltas: N arrays of one shape, fp32, in sorted order.

    Returns:
        fp64, the shape of one.
    """
    found = total(deltas)
    found /= len(deltas)
    return found


def total(deltas: list[np.ndarray]) -> np.ndarray:
    """The sum of some arrays; as `mean`."""
    found = deltas[0].astype("float64")
    for delta in deltas[1:]:
        found += delta  # numpy widens a buffer at a time, so no second fp64 copy arises
    return found
