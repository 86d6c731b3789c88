"""A null: Gaussian noise with, in each tensor, the norm that the mean of the vectors has there.

tau* = z ||mean_i tau_i|| / ||z||, z ~ N(0, 1), tensor by tensor (the random vector of Ilharco et
al., ICLR 2023, arXiv 2212.04089). An entry's draw depends only on `operator_seed`, the tensor's
name and the entry's place in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...plan.entries import Entry
from .mean import mean

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block
    from ..side_by_side import TaskVectors

REFERENCE = "Ilharco et al., ICLR 2023"
VERSION = 1
READS = 2


class Params(Entry):
    """Which noise."""

    operator_seed: int = Field(42, ge=0, description="seed of the draws")


def prepare(vectors: TaskVectors, params: Params) -> tuple[dict[str, float], dict[str, Any]]:
    """tensor -> the factor that gives z the mean's norm there; one pass."""

    def squares(block: Block) -> tuple[float, float]:
        noise = block.normals(params.operator_seed)
        return float((mean(block.deltas) ** 2).sum()), float((noise**2).sum())

    def factor(vectors: TaskVectors, tensor: str) -> float:
        wanted = drawn = 0.0
        for of_mean, of_noise in vectors.each(squares, tensor):
            wanted, drawn = wanted + of_mean, drawn + of_noise
        return (wanted / drawn) ** 0.5 if drawn else 0.0

    return vectors.by_tensor(factor, vectors.shapes), {}


def merge(block: Block, params: Params, context: dict[str, float]) -> np.ndarray:
    """The same draws as in `prepare`, scaled."""
    return context[block.tensor] * block.normals(params.operator_seed)
