"""Bootstrap intervals of the measurements of one edit at one scale."""

from functools import cache

import numpy as np
import pandas as pd

from ..plan.config import Statistics
from .payloads import scores_by_prompt
from .statistics import Interval, percentile_interval, resamples


class Bootstrap:
    """The same replicates for every edit: intervals of a study can be compared."""

    def __init__(self, settings: Statistics) -> None:
        """
        Args:
            settings: seed, number of replicates, confidence.
        """
        self.settings = settings
        self.weights = cache(
            lambda units, offset: resamples(settings.replicates, units, settings.seed + offset)
        )

    def toxicity(self, scores: pd.DataFrame) -> dict[str, Interval]:
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
            "toxicity_mean": self._ratio(weights, sums, counts),
            "expected_max_toxicity": self._ratio(
                weights, np.where(known, maxima, 0.0), known.astype(np.float64)
            ),
        }

    def perplexity(self, windows: pd.DataFrame) -> dict[str, Interval]:
        """Resample windows.

        Args:
            windows: `nll` (nats) and `tokens`, a row per window.

        Returns:
            `perplexity_per_token`.
        """
        nll, tokens = (windows[name].to_numpy(dtype=np.float64) for name in ("nll", "tokens"))
        mean = self._ratio(self.weights(len(nll), 1), nll, tokens)
        with np.errstate(over="ignore"):
            bounds = np.exp(mean[:3])
        return {"perplexity_per_token": Interval(*map(float, bounds))}

    def _ratio(self, weights: np.ndarray, above: np.ndarray, below: np.ndarray) -> Interval:
        """Of a sum over units by another; exponentials keep quantiles, so NLL stands for PPL."""
        with np.errstate(invalid="ignore"):
            drawn = (weights @ above) / (weights @ below)
        value = float(above.sum() / below.sum())
        return percentile_interval(value, drawn, self.settings.confidence)
