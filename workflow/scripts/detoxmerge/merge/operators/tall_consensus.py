"""Consensus by TALL masks: the mean where an entry matters to k vectors or more.

    m_i  = [|tau_i| > mask_lambda |sum_j tau_j - tau_i|], entry by entry
    tau* = [sum_i m_i >= min_shards] mean_i tau_i

Wang et al., ICML 2024, arXiv 2405.07813, where the sum is kept: N times this, and where mask_lambda
is tuned for each task on {0.2 .. 0.6}; here it is the same for all. min_shards 1 drops what matters
to no vector, 2 also what matters to one alone. Made for unlike tasks: if mask_lambda (N - 1) >= 1,
entries in which all vectors agree closely are dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...plan.entries import Entry
from .mean import total

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Wang et al., ICML 2024"
VERSION = 1


class Params(Entry):
    """What matters, and to how many."""

    mask_lambda: float = Field(
        0.2, gt=0, description="how far a vector must stand out from the rest"
    )
    min_shards: int = Field(2, ge=1, description="k, vectors that an entry must matter to")


def check(params: Params, n: int) -> None:
    """Raise ValueError if n vectors cannot keep anything."""
    if params.min_shards > n:
        raise ValueError(
            f"min_shards {params.min_shards} of {n} task vectors keeps nothing; lower it"
        )


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """The mean where at least `min_shards` masks are set."""
    import numpy as np

    whole = total(block.deltas)
    count, values = np.zeros(whole.shape, np.int16), np.empty_like(whole)
    others = np.empty_like(whole)
    for delta in block.deltas:
        np.copyto(values, delta)  # to mix fp32 and fp64 in one step is slower
        np.abs(np.subtract(whole, values, out=others), out=others)
        others *= params.mask_lambda
        count += np.abs(values, out=values) > others
    whole *= count >= params.min_shards
    whole /= len(block.deltas)
    return whole
