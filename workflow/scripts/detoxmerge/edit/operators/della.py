"""DELLA: drop small entries with a higher probability, rescale, elect a sign, average.

    p_ij = density - epsilon + 2 epsilon r_ij / (m - 1),  r = 0 .. m-1 the rank of |tau_i| in a row
    m_ij ~ Bernoulli(p_ij);  tau~_ij = m_ij tau_ij / p_ij
    tau* = mean of the tau~_i with the sign of sum_i tau~_i (`elect`), or of all

Deep et al. 2024, arXiv 2406.11617; epsilon as in mergekit, where p spans density +- epsilon. Equal
magnitudes are ranked by their place. Draws are those of `dare`.

A row is what feeds one output: of a weight that nn.Linear stores as (out, in) a row of the tensor,
of one that GPT-2's Conv1D stores as (in, out) a column. Which it is cannot be seen in a tensor, so
`layout` has no default: `linear`, or `conv1d` for GPT-2, whose `c_attn`, `c_proj` and `c_fc` are
then taken by columns. Where q, k and v are fused, they lie side by side on the output's axis, so no
row mixes them. A row of an embedding is a token; a tensor with one axis is one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, model_validator

from .mean import mean
from .ties import elected_mean

if TYPE_CHECKING:
    import numpy as np

REFERENCE = "Deep et al., arXiv 2406.11617, 2024"
VERSION = 1
CONV1D = ("c_attn", "c_proj", "c_fc", "q_attn")  # modules of GPT-2 in transformers


class Params(BaseModel, extra="forbid", strict=True):
    """What is dropped, and by which draws."""

    layout: Literal["linear", "conv1d"] = Field(description="conv1d: GPT-2's weights are (in, out)")
    density: float = Field(0.5, gt=0, le=1, description="mean probability of an entry to be kept")
    epsilon: float = Field(0.15, ge=0, lt=1, description="how far the probability goes up and down")
    elect: bool = Field(True, description="average what has the elected sign only, as TIES does")
    operator_seed: int = Field(42, ge=0, description="seed of the draws")

    @model_validator(mode="after")
    def _are_probabilities(self) -> Params:
        if self.density - self.epsilon <= 0 or self.density + self.epsilon > 1 + 1e-9:
            raise ValueError(
                f"density {self.density:g} and epsilon {self.epsilon:g} give probabilities outside "
                "of 0..1; lower epsilon"
            )
        return self


def along(tensor: str, num_axes: int, params: Params) -> int:
    """The axis that a row of a tensor extends along, from the end.

    Args:
        tensor: its name.
        num_axes: of the tensor, 1 or more.
        params: for the layout.

    Returns:
        -1, or -2 for the matrices of Conv1D.
    """
    turned = params.layout == "conv1d" and num_axes == 2
    return -2 if turned and set(tensor.split(".")) & set(CONV1D) else -1


def whole(tensor: str, shape: tuple[int, ...], params: Params) -> bool:
    """Whether blocks of some of a tensor's rows would cut what is ranked here."""
    return bool(shape) and along(tensor, len(shape), params) == -len(shape)


def merge(block: Any, params: Params, context: None) -> np.ndarray:
    """A block of the merged vector."""
    kept = []
    for shard, delta in enumerate(block.deltas):
        probability = keep_probability(block.tensor, delta, params)
        drawn = block.draws(params.operator_seed, shard) < probability * 2**32
        kept.append(delta / probability * drawn)
    return elected_mean(kept) if params.elect else mean(kept)


def keep_probability(tensor: str, delta: np.ndarray, params: Params) -> np.ndarray:
    """p of every entry.

    Args:
        tensor: name.
        delta: whole rows of it.
        params: density, epsilon, layout.

    Returns:
        fp64, the shape of delta.
    """
    import numpy as np

    axis = along(tensor, delta.ndim, params) if delta.ndim else None
    if axis is None or delta.shape[axis] < 2:
        return np.full(delta.shape, params.density)
    rows = np.moveaxis(delta, axis, -1)
    n = rows.shape[-1]
    of_ranks = params.density - params.epsilon + 2 * params.epsilon * np.arange(n) / (n - 1)
    # a magnitude's bits have its order; with the place below them no two are equal
    places = np.arange(rows.size, dtype=np.uint64).reshape(rows.shape)
    keys = np.abs(rows).view(np.uint32).astype(np.uint64) << 32 | places
    keys.sort(axis=-1)
    found = np.empty(rows.shape)
    np.put(found, keys.view(np.int64) & 0xFFFFFFFF, of_ranks)  # the same for every row
    return np.moveaxis(found, -1, axis)
