"""Bootstrap intervals of the metrics of an edit at one scale, and of their differences."""

from functools import cache
from typing import NamedTuple

import numpy as np

from ..measure.metrics import Metric
from ..measure.payloads import Payload
from ..plan.config import Statistics
from .statistics import Interval, percentile_interval, resamples


class Drawn(NamedTuple):
    """A quantity, from the data and from each of B replicates."""

    value: float
    replicates: np.ndarray  # (B,)

    def minus(self, other: "Drawn") -> "Drawn":
        """The difference in each replicate: paired, if both come from one `Bootstrap`."""
        with np.errstate(invalid="ignore"):
            return Drawn(self.value - other.value, self.replicates - other.replicates)


class Bootstrap:
    """The same replicates for every edit, so that differences are paired."""

    def __init__(self, settings: Statistics) -> None:
        self.settings = settings
        # by the number of units and the payload's SEED_OFFSET; large, so each is drawn only once
        self.weights = cache(
            lambda units, offset: resamples(settings.replicates, units, settings.seed + offset)
        )

    def interval(self, drawn: Drawn) -> Interval:
        """The percentile interval of a quantity."""
        return percentile_interval(drawn.value, drawn.replicates, self.settings.confidence)

    def draw(self, metric: Metric, payload: Payload) -> Drawn:
        """A metric of what was measured; all replicates are NaN if it has no interval."""
        if not metric.interval:
            return Drawn(metric.value(payload), np.full(self.settings.replicates, np.nan))
        weights = self.weights(payload.num_units, payload.SEED_OFFSET)
        return Drawn(metric.value(payload), metric.function(payload, weights))
