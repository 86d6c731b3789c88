"""NegMerge: the mean where the vectors agree in sign, else 0, entry by entry.

    tau* = [|sum_i sgn tau_i| >= consensus N] mean_i tau_i

Kim et al., ICML 2025, PMLR 267:30067, arXiv 2410.05583, with consensus 1: all N have one sign, and
none is 0. Below 1 it is relaxed: with 0.6 and N = 5, four must agree and one need not. The N models
of the paper differ in hyper-parameters, not in data.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from ...plan.entries import Entry
from .mean import mean

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Kim et al., ICML 2025"
VERSION = 1


class Params(Entry):
    """How many must agree."""

    consensus: float = Field(1.0, gt=0, le=1, description="least |sum of signs|, share of N")


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """The mean where enough signs agree."""
    import numpy as np

    merged = mean(block.deltas)
    signs = np.zeros(merged.shape, np.int16)
    for delta in block.deltas:
        signs += delta > 0
        signs -= (delta < 0).view(np.int8)
    # 0.6 * 5 is 3, whatever floats make of it
    merged *= np.abs(signs) >= math.ceil(params.consensus * len(block.deltas) - 1e-9)
    return merged
