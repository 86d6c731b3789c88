"""What is signal in the vectors, entry by entry, judged by the spread of the N values.

    s^2  = 1/(N-1) sum_i (tau_i - mean)^2, the unbiased variance; s^2/N is that of the mean
    tau* = max(0, 1 - s^2 / (N mean^2)) mean                   without a threshold
    tau* = [|mean| sqrt(N) / s >= threshold] mean              with one

This project's own test of the claim that merging separates noise from what is common. The first is
the positive-part shrinkage of James and Stein (1961) for single entries, the second a t-test of
each. Where s = 0 the mean is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...plan.entries import Entry
from .mean import mean

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "after James and Stein, Berkeley Symposium 1961"
VERSION = 1


class Params(Entry):
    """Shrink, or keep and drop."""

    threshold: float | None = Field(
        None, gt=0, description="least |mean| sqrt(N) / s that is kept; none: shrink"
    )


def check(params: Params, n: int) -> None:
    """Raise ValueError if the spread of n values says too little."""
    if n < 3:
        raise ValueError("operator snr estimates a variance: n must be 3 or more")


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """The mean, shrunk or cut off by its standard error."""
    import numpy as np

    n, average = len(block.deltas), mean(block.deltas)
    noise, part = np.zeros_like(average), np.empty_like(average)
    for delta in block.deltas:
        np.copyto(part, delta)  # to mix fp32 and fp64 in one step is slower
        part -= average
        noise += np.square(part, out=part)
    noise /= n * (n - 1)  # s^2 / N
    signal = np.square(average, out=part)
    if params.threshold is not None:
        return average * (signal >= params.threshold**2 * noise)
    # (mean^2 - s^2 / N) / mean, which is (1 - s^2 / (N mean^2)) mean
    signal -= noise
    noise.fill(0)
    np.maximum(signal, noise, out=signal)  # slow with a bare 0, as a division is with `where`
    average += np.equal(average, 0)  # there the signal is 0, too
    return np.divide(signal, average, out=signal)
