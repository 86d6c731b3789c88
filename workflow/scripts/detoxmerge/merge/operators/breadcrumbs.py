"""Model Breadcrumbs: keep the middle of each tensor by magnitude, then average.

Of the n entries of a tensor the floor(gamma n) largest are dropped as outliers, of the others the
floor(density n) largest are kept, and the rest is dropped as noise; tau* = mean_i m_i tau_i.
Davari and Belilovsky, ECCV 2024, arXiv 2312.06795, sum the masked vectors, which gives N times
this. The ranks are those of a whole tensor, as in the paper and in mergekit; the authors' code
takes them along the last axis. Thresholds are exact (`merge.order_statistics`), and values equal to
a threshold are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from ...plan.entries import Entry
from .mean import mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from ..blocks import Block
    from ..side_by_side import TaskVectors

REFERENCE = "Davari and Belilovsky, ECCV 2024"
VERSION = 1
READS = 3  # 2, and 4 where the sample misleads


class Params(Entry):
    """How much is kept."""

    density: float = Field(0.9, gt=0, le=1, description="share of a tensor's entries that is kept")
    gamma: float = Field(0.01, ge=0, lt=1, description="share of the largest that is dropped")

    @model_validator(mode="after")
    def _fit_together(self) -> Params:
        if self.density + self.gamma > 1 + 1e-9:
            raise ValueError(
                f"density {self.density:g} and gamma {self.gamma:g} have a sum above 1; lower one"
            )
        return self


def prepare(vectors: TaskVectors, params: Params) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """tensor -> the largest and the smallest magnitude that are kept, (N, 2)."""
    from ..order_statistics import nth_largest

    def bounds(vectors: TaskVectors, tensor: str) -> np.ndarray:
        n = vectors.num_elements(tensor)
        kept = max(1, int(params.density * n))
        dropped = min(int(params.gamma * n), n - kept)
        ranks = [dropped + 1, dropped + kept]

        def over(function: Callable[..., Any]) -> Iterator[Any]:
            return vectors.deltas(function, tensor)

        return nth_largest(over, ranks, vectors.sample(tensor), n)

    return vectors.by_tensor(bounds, filter(vectors.num_elements, vectors.shapes)), {}


def merge(block: Block, params: Params, context: dict[str, np.ndarray]) -> np.ndarray:
    """The mean of what lies between the two thresholds of each vector."""
    kept = []
    for delta, (most, least) in zip(block.deltas, context[block.tensor], strict=True):
        magnitude = abs(delta)
        kept.append(delta * ((magnitude >= least) & (magnitude <= most)))
    return mean(kept)
