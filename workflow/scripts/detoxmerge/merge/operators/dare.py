"""DARE: drop entries at random, rescale the others, then average (Yu et al., ICML 2024).

    m_i ~ Bernoulli(density), entry by entry;  tau~_i = m_i tau_i / density;  tau* = mean_i tau~_i

arXiv 2311.03099, whose drop rate p is 1 - density. With `elect` the mean is the one of TIES: of the
values with the elected sign only. An entry's draw depends on `operator_seed`, the vector's place in
sorted order, the tensor's name and the entry's place in it, on nothing else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from .mean import mean
from .ties import elected_mean

if TYPE_CHECKING:
    import numpy as np

REFERENCE = "Yu et al., ICML 2024"
VERSION = 1


class Params(BaseModel, extra="forbid", strict=True, allow_inf_nan=False):
    """What is dropped, and by which draws."""

    density: float = Field(0.5, gt=0, le=1, description="probability of an entry to be kept")
    elect: bool = Field(False, description="average what has the elected sign only, as TIES does")
    operator_seed: int = Field(42, ge=0, description="seed of the draws")


def merge(block: Any, params: Params, context: None) -> np.ndarray:
    """A block of the merged vector."""
    below = math.ceil(params.density * 2**32)
    kept = [
        delta * (block.draws(params.operator_seed, i) < below)
        for i, delta in enumerate(block.deltas)
    ]
    found = elected_mean(kept) if params.elect else mean(kept)
    found /= params.density
    return found
