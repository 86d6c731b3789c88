"""TIES: trim, elect a sign, and average only what agrees with it (Yadav et al., NeurIPS 2023).

    tau^_i = tau_i where |tau_i| is among the floor(density d) largest of its vector, else 0
    gamma  = sgn(sum_i tau^_i), entry by entry
    tau*   = mean of the tau^_i with sgn(tau^_i) = gamma, entry by entry; 0 where there is none

arXiv 2306.01708. The trim is global: d counts all entries of the model, and each vector has one
threshold, exact (`edit.order_statistics`). Values that tie at it are all kept, so a shard may keep
more than its share. The authors' code keeps one more, as it takes the next smaller threshold.
Where the trimmed values cancel exactly, gamma is 0, and so is the result, as the formula says; the
authors' code gives such entries the sign of the majority of all entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from .mean import total

if TYPE_CHECKING:
    import numpy as np

REFERENCE = "Yadav et al., NeurIPS 2023"
VERSION = 1
READS = 3


class Params(BaseModel, extra="forbid", strict=True):
    """How much is kept."""

    density: float = Field(0.2, gt=0, le=1, description="share of a vector's entries that is kept")


def prepare(shards: Any, params: Params) -> tuple[Any, dict[str, Any]]:
    """The threshold of each vector, in sorted shard order; two passes."""
    from ..order_statistics import nth_largest

    kept = max(1, int(params.density * shards.num_elements()))
    thresholds = nth_largest(shards.deltas, [kept])[:, 0]
    return thresholds, {"thresholds": [float(t) for t in thresholds]}


def merge(block: Any, params: Params, context: Any) -> np.ndarray:
    """A block of the merged vector."""
    pairs = zip(block.deltas, context, strict=True)
    return elected_mean([delta * (abs(delta) >= least) for delta, least in pairs])


def elected_mean(deltas: list[np.ndarray]) -> np.ndarray:
    """The mean of those values that have the sign of the entry's sum.

    Args:
        deltas: N arrays of one shape, trimmed or masked.

    Returns:
        fp64, the shape of one; 0 where nothing is left, or the sum is 0.
    """
    import numpy as np

    sign = np.sign(total(deltas)).astype(np.float32)
    found, count = np.zeros(sign.shape), np.zeros(sign.shape, np.int16)
    for delta in deltas:
        turned = delta * sign  # positive where the delta agrees
        count += turned > 0
        found += np.maximum(turned, 0)
    found *= sign
    found /= np.maximum(count, 1)
    return found
