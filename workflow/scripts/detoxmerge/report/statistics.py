"""Bootstrap and jackknife intervals, and how many prompts an interval needs."""

import math
from typing import NamedTuple

import numpy as np
from scipy import special

CONFIDENCE = 0.95
REPLICATES = 2000
UNDEFINED_AT_MOST = 0.05  # share of replicates without a value above which there is no interval


class Interval(NamedTuple):
    """An estimate and its percentile interval; NaN where undefined."""

    value: float
    low: float
    high: float
    undefined_share: float = 0.0  # of the replicates


def resamples(count: int, units: int, seed: int) -> np.ndarray:
    """How often each unit is drawn in each bootstrap replicate.

    Args:
        count: replicates, B.
        units: U, prompts or windows.
        seed: of numpy's PCG64.

    Returns:
        (B, U) fp64; every row sums to U.
    """
    return np.random.default_rng(seed).multinomial(units, [1 / units] * units, count).astype(float)


def percentile_interval(
    value: float, replicates: np.ndarray, confidence: float = CONFIDENCE
) -> Interval:
    """The percentile interval of an estimate.

    Args:
        value: from the data themselves.
        replicates: (B,), the same from each replicate; NaN where it is undefined.
        confidence: 0..1.

    Returns:
        The interval; without bounds if more than `UNDEFINED_AT_MOST` of the replicates have no
        value, since the others are then a biased sample.
    """
    undefined = float(np.isnan(replicates).mean())
    if math.isnan(value) or undefined > UNDEFINED_AT_MOST:
        return Interval(value, math.nan, math.nan, undefined)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(replicates, [tail, 1 - tail])
    return Interval(value, float(low), float(high), undefined)


def jackknife(value: float, without_one: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Interval of an estimate from N shards, by leaving out one at a time.

    SE^2 = (N - 1) / N * sum_i (v_i - mean v)^2, bounds at Student's t with N - 1 degrees of freedom
    (Tukey 1958).

    Args:
        value: from all N shards.
        without_one: (N,), the estimate without shard i.
        confidence: 0..1.

    Returns:
        The interval; without bounds if N < 3 or an estimate is undefined.
    """
    n = len(without_one)
    if n < 3 or np.isnan(without_one).any() or math.isnan(value):
        return Interval(value, math.nan, math.nan, float(np.isnan(without_one).mean()) if n else 0)
    spread = math.sqrt((n - 1) / n * float(np.square(without_one - without_one.mean()).sum()))
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * spread
    return Interval(value, value - half, value + half)


def prompts_needed(
    values: np.ndarray, half_width: float, confidence: float = CONFIDENCE
) -> int | None:
    """How many prompts an interval of a given half-width needs: (z sigma / h)^2.

    Args:
        values: (P,), a number per prompt: a mean score, or the difference between two edits.
        half_width: h.
        confidence: 0..1.

    Returns:
        Prompts, rounded up; None if there are fewer than two, which show no spread.
    """
    if len(values) < 2:
        return None
    z = float(special.ndtri((1 + confidence) / 2))
    return math.ceil((z * float(np.std(values, ddof=1)) / half_width) ** 2)
