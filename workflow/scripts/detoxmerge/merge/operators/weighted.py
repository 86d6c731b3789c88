"""A weighted mean, entry by entry: tau* = sum_i w_i tau_i with w_i >= 0 and sum_i w_i = 1.

By default w_i = n_i / sum_j n_j with n_i the number of texts that vector i was trained on, as
in federated averaging (McMahan et al., AISTATS 2017, arXiv 1602.05629).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from ...errors import UserError
from ...plan.entries import Entry

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block
    from ..side_by_side import TaskVectors

REFERENCE = "McMahan et al., AISTATS 2017"
VERSION = 1
NEAR_ONE = 1e-6  # what the weights' sum may miss: 0.333, 0.333, 0.334 are written by hand


class Params(Entry):
    """How much each vector counts."""

    weights: list[float] | None = Field(
        None, description="one per vector, in the order given; none: by number of texts"
    )

    @field_validator("weights")
    @classmethod
    def _are_shares(cls, weights: list[float] | None) -> list[float] | None:
        if weights is None:
            return None
        if any(not weight >= 0 for weight in weights):
            raise ValueError(f"weights are 0 or more, not {weights}; the minus is in the scale")
        if not abs(sum(weights) - 1) < NEAR_ONE:
            raise ValueError(f"weights have the sum 1, not {sum(weights):g}")
        return weights


def check(params: Params, n: int) -> None:
    """Raise ValueError unless there is a weight for each of n vectors."""
    if params.weights is not None and len(params.weights) != n:
        raise ValueError(f"{n} task vectors need {n} weights, not {len(params.weights)}")


def prepare(vectors: TaskVectors, params: Params) -> tuple[list[float], dict[str, Any]]:
    """The weights in sorted order; the manifest has them in the order given.

    Raises:
        UserError: the numbers of texts are not known.
    """
    weights = params.weights
    if weights is None:
        sizes = [size for size in vectors.num_texts or [] if size is not None]
        if len(sizes) < len(vectors) or not sum(sizes):
            raise UserError(
                "operator weighted: the number of texts of each fine-tune is not known; give "
                "`weights`"
            )
        weights = [size / sum(sizes) for size in sizes]
    return [weights[i] for i in vectors.order], {"weights": weights}


def merge(block: Block, params: Params, context: list[float]) -> np.ndarray:
    """The weights of the context are in the order of the block's arrays."""
    merged = block.deltas[0].astype("float64")
    merged *= context[0]
    for weight, delta in zip(context[1:], block.deltas[1:], strict=True):
        part = delta.astype("float64")
        part *= weight
        merged += part
    return merged
