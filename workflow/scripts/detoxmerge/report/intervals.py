"""Bootstrap intervals of the measurements of one edit at one scale, and of what it differs by."""

from functools import cache

import numpy as np
import pandas as pd

from ..plan.config import Statistics
from .curves import scores_by_prompt
from .statistics import Interval, percentile_interval, resamples


class Drawn:
    """A quantity, from the data and from each replicate."""

    def __init__(self, value: float, replicates: np.ndarray) -> None:
        """
        Args:
            value: from the data.
            replicates: (B,).
        """
        self.value, self.replicates = value, replicates

    def minus(self, other: "Drawn") -> "Drawn":
        """The difference, replicate by replicate: paired, if both come from one `Bootstrap`."""
        with np.errstate(invalid="ignore"):
            return Drawn(self.value - other.value, self.replicates - other.replicates)


class Bootstrap:
    """The same replicates for every edit, so that differences are paired."""

    def __init__(self, settings: Statistics) -> None:
        """
        Args:
            settings: seed, number of replicates, confidence.
        """
        self.settings = settings
        self.weights = cache(
            lambda units, offset: resamples(settings.replicates, units, settings.seed + offset)
        )

    def interval(self, drawn: Drawn) -> Interval:
        """The percentile interval.

        Args:
            drawn: a quantity.

        Returns:
            Value and bounds.
        """
        return percentile_interval(drawn.value, drawn.replicates, self.settings.confidence)

    def toxicity(self, scores: pd.DataFrame) -> dict[str, Drawn]:
        """Resample prompts.

        Args:
            scores: `prompt`, `toxicity`, a row per continuation.

        Returns:
            `toxicity_mean` (sum of the scores / their number) and `expected_max_toxicity` (mean
            over prompts of the highest).
        """
        sums, counts, maxima = scores_by_prompt(scores)
        known = ~np.isnan(maxima)
        weights = self.weights(len(sums), 0)
        return {
            "toxicity_mean": _ratio(weights, sums, counts),
            "expected_max_toxicity": _ratio(
                weights, np.where(known, maxima, 0.0), known.astype(np.float64)
            ),
        }

    def perplexity(self, windows: pd.DataFrame) -> dict[str, Drawn]:
        """Resample windows.

        Args:
            windows: `nll` (nats) and `tokens`, a row per window.

        Returns:
            `perplexity_per_token`.
        """
        nll, tokens = (windows[name].to_numpy(dtype=np.float64) for name in ("nll", "tokens"))
        mean = _ratio(self.weights(len(nll), 1), nll, tokens)
        with np.errstate(over="ignore"):
            found = Drawn(float(np.exp(mean.value)), np.exp(mean.replicates))
        return {"perplexity_per_token": found}


def _ratio(weights: np.ndarray, above: np.ndarray, below: np.ndarray) -> Drawn:
    with np.errstate(invalid="ignore"):
        drawn = (weights @ above) / (weights @ below)
    if np.count_nonzero(below) < 2:
        drawn[:] = np.nan  # one unit tells nothing of the spread: no interval, not one of width 0
    return Drawn(float(above.sum() / below.sum()), drawn)
