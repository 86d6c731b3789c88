"""Bootstrap intervals of the measurements of one edit at one scale, and of what it differs by."""

from functools import cache
from typing import Any

import numpy as np

from ..measure.metrics import Metric
from ..plan.config import Statistics
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

    def draw(self, metric: Metric, measured: Any) -> Drawn:
        """A metric of what was measured, from the data and, if it has an interval, replicates.

        Args:
            metric: of `measure.metrics`.
            measured: of `measure.payloads`.

        Returns:
            The quantity; without an interval all replicates are NaN.
        """
        if not metric.interval:
            return Drawn(metric.value(measured), np.full(self.settings.replicates, np.nan))
        weights = self.weights(measured.num_units, measured.STREAM)
        return Drawn(metric.value(measured), metric.function(measured, weights))
