"""Two edits at the same toxicity: what each costs there, and how certain that is.

Both are measured on the same prompts with the same random numbers, and on the same windows of the
same text. A replicate draws prompts and windows with replacement, once for all edits, so that what
makes a prompt or a window hard cancels in differences (paired bootstrap; Efron and Tibshirani 1993,
chapters 6 and 8).
"""

from typing import NamedTuple

import numpy as np

from ..measure.metrics import nll_per_token, toxicity_mean
from ..measure.payloads import Scores, Windows
from .statistics import CONFIDENCE, REPLICATES, Interval, percentile_interval, resamples

LEVELS = 20  # of toxicity, at which costs are compared


class Curve(NamedTuple):
    """One edit over its scales; the base model, scale 0, comes first. Arrays are fp64."""

    scales: np.ndarray  # (S,), ascending from 0
    scores: list[Scores]  # of each scale, of the same P prompts
    windows: list[Windows]  # of each scale, the same W windows

    @property
    def units(self) -> tuple[int, int]:
        """P and W."""
        return self.scores[0].num_units, self.windows[0].num_units


Means = tuple[np.ndarray, np.ndarray]  # mean toxicity and NLL per token, (B, S) each


def means(curve: Curve, prompts: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean toxicity and mean NLL per token of every scale, in every replicate.

    Args:
        curve: over S scales.
        prompts: (B, P) weights.
        windows: (B, W) weights.

    Returns:
        Two (B, S) arrays: `toxicity_mean`, and nats per token, whose exponential is the perplexity.
    """
    toxicity = [toxicity_mean(scores, prompts) for scores in curve.scores]
    nll = [nll_per_token(measured, windows) for measured in curve.windows]
    return np.stack(toxicity, axis=1), np.stack(nll, axis=1)


def perplexity_at(toxicity: np.ndarray, nll: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Perplexity where an edit first reaches a level of toxicity, on its way from the base.

    Between two scales toxicity and NLL per token are interpolated linearly, since NLL changes more
    evenly with the scale than its exponential.

    Args:
        toxicity: (B, S), scale 0 first.
        nll: (B, S), nats per token.
        levels: (B, L).

    Returns:
        (B, L); NaN where no scale reaches the level, the base's where the base has reached it.
    """
    # the first scale that reaches each level, and the one before it
    reached = toxicity[:, None, :] <= levels[:, :, None]
    after = reached.argmax(axis=2)
    before = np.maximum(after - 1, 0)
    high, low = (np.take_along_axis(toxicity, index, axis=1) for index in (before, after))
    from_nll, to_nll = (np.take_along_axis(nll, index, axis=1) for index in (before, after))
    # high > low, since `before` has not reached the level; where the base has, there is no step
    step = np.where(after > 0, high - low, 1.0)
    share = np.where(after > 0, (high - levels) / step, 0.0)
    perplexity = np.exp(from_nll + share * (to_nll - from_nll))
    return np.where(reached.any(axis=2), perplexity, np.nan)


def levels_of(first: np.ndarray, second: np.ndarray, count: int = LEVELS) -> np.ndarray:
    """Equally spaced levels from the base's toxicity down to what both edits reach.

    Args:
        first: (B, S) toxicity of one edit, scale 0 first.
        second: (B, T) of the other.
        count: L.

    Returns:
        (B, L), descending, without the base's toxicity; NaN in replicates where one of the two is
        nowhere below the base, so that the curves do not overlap.
    """
    base = first[:, 0]
    lowest = np.maximum(first.min(axis=1), second.min(axis=1))
    above = np.arange(count - 1, -1, -1) / count  # ends in 0: the lowest level itself, unrounded
    levels = lowest[:, None] + (base - lowest)[:, None] * above
    return np.where((lowest < base)[:, None], levels, np.nan)


def falls_beyond_chance(
    toxicity: np.ndarray, drawn: np.ndarray, confidence: float = CONFIDENCE
) -> bool:
    """Whether an edit is anywhere less toxic than the base by more than sampling explains.

    Among many scales some are below the base by chance. So the largest fall max_s f_s is compared
    with how far replicates scatter around the falls of the data, max_s (f*_s - f_s) (White,
    Econometrica 68, 2000).

    Args:
        toxicity: (1, S) from the data, scale 0 first.
        drawn: (B, S) from each replicate.
        confidence: 0..1; the upper (1 - confidence) / 2 are beyond chance.

    Returns:
        False also where a number is NaN.
    """
    falls, drawn_falls = (means[:, :1] - means for means in (toxicity, drawn))
    chance = (drawn_falls - falls).max(axis=1)
    return bool(falls.max() > np.quantile(chance, (1 + confidence) / 2))


def degradation_reduction(
    merged: tuple[np.ndarray, np.ndarray], single: tuple[np.ndarray, np.ndarray], levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How much less a merged edit costs than a single one at the same toxicity.

    At a level t it is r(t) = 1 - (PPL_merged(t) - PPL_0) / (PPL_single(t) - PPL_0), as in Kim et
    al. (COLM 2024), who give it for one t. Over a range the costs are summed over the levels before
    they are divided, 1 - sum_t (PPL_merged(t) - PPL_0) / sum_t (PPL_single(t) - PPL_0), since at a
    level near the base's the ratio tends to 0 / 0.

    Args:
        merged: toxicity and NLL per token, (B, S) each, scale 0 first.
        single: the same of the single edit, (B, T) each, after the same base.
        levels: (B, L).

    Returns:
        r at each level, (B, L), and over the range, (B,). NaN where a curve does not reach the
        level, or where the single edit costs nothing, so that nothing can be reduced.
    """
    base = np.exp(single[1][:, :1])
    ours, theirs = (perplexity_at(*edit, levels) - base for edit in (merged, single))
    with np.errstate(divide="ignore", invalid="ignore"):
        at_level = np.where(theirs > 0, 1 - ours / theirs, np.nan)
        total = theirs.sum(axis=1)
        overall = np.where(total > 0, 1 - ours.sum(axis=1) / total, np.nan)
    return at_level, overall


class Comparison(NamedTuple):
    """Degradation reduction over a range of toxicity, and at each level of it."""

    overall: Interval
    levels: np.ndarray  # (L,), from the base's toxicity downwards
    at_level: list[Interval]


def compare(
    merged: Curve,
    single: Curve,
    seed: int,
    replicates: int = REPLICATES,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Degradation reduction at matched toxicity, with paired bootstrap intervals.

    For the reduction over the range, each replicate has its own levels, from the toxicity of its
    base down to what both of its edits reach. For the reduction at a level, the levels are those of
    the data.

    Args:
        merged: an edit.
        single: what it is compared with, on the same prompts and windows.
        seed: of the resampling.
        replicates: B.
        confidence: 0..1.

    Returns:
        Values and intervals. NaN where the curves do not overlap, and everywhere if one of the two
        is nowhere less toxic than the base beyond chance, since the levels are then noise.
    """
    num_prompts, num_windows = merged.units
    prompts = resamples(replicates, num_prompts, seed + Scores.SEED_OFFSET)
    windows = resamples(replicates, num_windows, seed + Windows.SEED_OFFSET)
    data = _data_means(merged, single)
    drawn = means(merged, prompts, windows), means(single, prompts, windows)
    levels = levels_of(data[0][0], data[1][0])
    for (toxicity, _), (drawn_toxicity, _) in zip(data, drawn, strict=True):
        if not falls_beyond_chance(toxicity, drawn_toxicity, confidence):
            levels = np.full_like(levels, np.nan)
    at_level, overall = degradation_reduction(*data, levels)
    # levels of each replicate: the range is uncertain, too
    drawn_levels = levels_of(drawn[0][0], drawn[1][0])
    drawn_overall = degradation_reduction(*drawn, drawn_levels)[1]
    # the same level in every replicate: its interval is drawn there
    drawn_level = degradation_reduction(*drawn, np.repeat(levels, replicates, axis=0))[0]
    return Comparison(
        percentile_interval(float(overall[0]), drawn_overall, confidence),
        levels[0],
        [
            percentile_interval(float(value), column, confidence)
            for value, column in zip(at_level[0], drawn_level.T, strict=True)
        ],
    )


def reduction(merged: Curve, single: Curve) -> float:
    """Degradation reduction over the range, as `compare` has it, but not tested against chance."""
    data = _data_means(merged, single)
    return float(degradation_reduction(*data, levels_of(data[0][0], data[1][0]))[1][0])


def _data_means(merged: Curve, single: Curve) -> tuple[Means, Means]:
    """`means` of both from the data themselves, in which every unit counts once."""
    num_prompts, num_windows = merged.units
    once = np.ones((1, num_prompts)), np.ones((1, num_windows))
    return means(merged, *once), means(single, *once)
