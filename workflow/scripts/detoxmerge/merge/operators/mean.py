"""The mean, entry by entry: tau* = (1/N) sum_i tau_i.

N = 1 is the single task vector of Ilharco et al. (ICLR 2023, arXiv 2212.04089), N > 1 the merged
one of Kim et al. (COLM 2024, openreview.net/forum?id=TBNYjdOazs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...plan.entries import Entry

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Kim et al., COLM 2024"


class Params(Entry):
    """There are none."""


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """The mean of the block."""
    return mean(block.deltas)


def mean(deltas: list[np.ndarray]) -> np.ndarray:
    """The mean of N arrays of one shape, fp64; the last bits depend on their order."""
    result = total(deltas)
    result /= len(deltas)
    return result


def total(deltas: list[np.ndarray]) -> np.ndarray:
    """The sum of N arrays of one shape, fp64; the last bits depend on their order."""
    result = deltas[0].astype("float64")
    for delta in deltas[1:]:
        result += delta  # numpy widens a buffer at a time, so no second fp64 copy arises
    return result
