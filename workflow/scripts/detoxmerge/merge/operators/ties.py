"""TIES: trim, elect a sign, and average only what agrees with it (Yadav et al., NeurIPS 2023).

    tau^_i = tau_i where |tau_i| is among the floor(density d) largest of its vector, else 0
    gamma  = sgn(sum_i tau^_i), entry by entry
    tau*   = mean of the tau^_i with sgn(tau^_i) = gamma, entry by entry; 0 where there is none

arXiv 2306.01708. The trim is global: d counts all entries of the model, and each vector has one
threshold, exact (`merge.order_statistics`). Values that tie at it are all kept, so a vector may
keep more than its share. The authors' code keeps one more, as it takes the next smaller threshold.
Where the trimmed values cancel exactly, gamma is 0, and so is the result, as the formula says; the
authors' code gives such entries the sign that most of the entries have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...plan.entries import Entry
from .mean import total

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block
    from ..side_by_side import TaskVectors

REFERENCE = "Yadav et al., NeurIPS 2023"
VERSION = 1
READS = 3  # 2, and 4 where the sample misleads


class Params(Entry):
    """How much is kept."""

    density: float = Field(0.2, gt=0, le=1, description="share of a vector's entries that is kept")


def prepare(vectors: TaskVectors, params: Params) -> tuple[np.ndarray, dict[str, Any]]:
    """The threshold of each vector, (N,); one pass."""
    from ..order_statistics import nth_largest

    size = vectors.num_elements()
    kept = max(1, int(params.density * size))
    thresholds = nth_largest(vectors.deltas, [kept], vectors.sample(), size)[:, 0]
    return thresholds, {"thresholds": [float(t) for t in thresholds]}


def merge(block: Block, params: Params, context: np.ndarray) -> np.ndarray:
    """The elected mean of what reaches its vector's threshold."""
    pairs = zip(block.deltas, context, strict=True)
    return elected_mean([delta * (abs(delta) >= least) for delta, least in pairs])


def elected_mean(deltas: list[np.ndarray]) -> np.ndarray:
    """The mean of those values that have the sign of the entry's sum.

    Args:
        deltas: N arrays of one shape, trimmed or masked, fp32 or fp64.

    Returns:
        fp64, the shape of one; 0 where nothing is left, or the sum is 0.
    """
    import numpy as np

    whole = total(deltas)
    sign = ((whole > 0).view(np.int8) - (whole < 0).view(np.int8)).astype(deltas[0].dtype)
    result, count = np.zeros(sign.shape), np.zeros(sign.shape, np.int16)
    turned, zero = np.empty_like(sign), np.zeros_like(sign)  # maximum is slow with a bare 0
    for delta in deltas:
        np.multiply(delta, sign, out=turned)  # positive where the delta agrees
        count += turned > 0
        result += np.maximum(turned, zero, out=turned)
    result *= sign
    count += count == 0  # 0 / 1 is the 0 that is wanted there
    result /= count
    return result
