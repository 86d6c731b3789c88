"""The trimmed mean, entry by entry: without the g smallest and the g largest values of each.

g = floor(trim N); tau* = 1/(N - 2g) sum of the others (Yin et al., ICML 2018, arXiv 1803.01498).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...plan.entries import Entry
from .median import middle

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Yin et al., ICML 2018"
VERSION = 1


class Params(Entry):
    """How much is cut."""

    trim: float = Field(0.2, gt=0, lt=0.5, description="share of the vectors cut at each end")


def check(params: Params, n: int) -> None:
    """Raise ValueError if nothing of n values would be cut: that is the mean."""
    if num_cut(params, n) == 0:
        raise ValueError(f"trim {params.trim:g} of {n} task vectors cuts none; raise it, or n")


def num_cut(params: Params, n: int) -> int:
    """g, the number of values that go at each end of n."""
    return int(params.trim * n + 1e-9)  # 0.3 * 10 is 3, whatever floats make of it


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """What is left without the g smallest and the g largest values."""
    return middle(block.deltas, num_cut(params, len(block.deltas)))
