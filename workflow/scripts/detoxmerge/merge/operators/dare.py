"""DARE: drop entries at random, rescale the others, then average (Yu et al., ICML 2024).

    m_i ~ Bernoulli(density), entry by entry;  tau~_i = m_i tau_i / density;  tau* = mean_i tau~_i

arXiv 2311.03099, whose drop rate p is 1 - density. With `elect` the mean is that of TIES, over the
values with the elected sign only. An entry's draw depends only on `operator_seed`, the vector's
place in sorted order, the tensor's name and the entry's place in it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from ...plan.entries import Entry
from .mean import mean
from .ties import elected_mean

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Yu et al., ICML 2024"
VERSION = 1


class Params(Entry):
    """What is dropped, and by which draws."""

    density: float = Field(0.5, gt=0, le=1, description="probability of an entry to be kept")
    elect: bool = Field(False, description="average what has the elected sign only, as TIES does")
    operator_seed: int = Field(42, ge=0, description="seed of the draws")


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """The mean of what the draws keep, which is divided by the probability of being kept."""
    # a draw of 32 bits is below this with the probability `density`
    below = math.ceil(params.density * 2**32)
    kept = [
        delta * (block.draws(params.operator_seed, i) < below)
        for i, delta in enumerate(block.deltas)
    ]
    merged = elected_mean(kept) if params.elect else mean(kept)
    merged /= params.density
    return merged
