"""DELLA: drop small entries with a higher probability, rescale, elect a sign, average.

    p_ij = density - epsilon + 2 epsilon r_ij / (m - 1),  r = 0 .. m-1 the rank of |tau_i| in a row
    m_ij ~ Bernoulli(p_ij);  tau~_ij = m_ij tau_ij / p_ij
    tau* = mean of the tau~_i with the sign of sum_i tau~_i (`elect`), or of all

Deep et al. 2024, arXiv 2406.11617; epsilon as in mergekit, where p spans density +- epsilon. Equal
magnitudes are ranked by their place. Draws are those of `dare`.

A row is what feeds one output: of a weight that nn.Linear stores as (out, in) a row of the tensor,
of one that GPT-2's Conv1D stores as (in, out) a column. A tensor does not show which it is, and to
ask the model takes torch, which the command does without. So `layout` has no default: `linear`, or
`conv1d` for GPT-2, whose `c_attn`, `c_proj` and `c_fc` are then taken by columns. Where q, k and v
are fused, they lie side by side on the output's axis, so no row mixes them. A row of an embedding
is a token; a tensor with one axis is one row.

A tensor whose columns are ranked is read whole, of all N vectors: each worker then holds about
8 N + 8 bytes per entry. With N = 10 that is 0.2 GB for GPT-2 small and 0.9 GB for GPT-2 XL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ...plan.entries import Entry
from .mean import mean
from .ties import elected_mean

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Deep et al., arXiv 2406.11617, 2024"
VERSION = 1
GROUP = 1 << 15  # entries of a vector at a time, so that what is made of them lies in the cache
CONV1D = ("c_attn", "c_proj", "c_fc", "q_attn")  # modules of GPT-2 in transformers


class Params(Entry):
    """What is dropped, and by which draws."""

    layout: Literal["linear", "conv1d"] = Field(
        description="linear: weights are (out, in); conv1d: GPT-2's are (in, out)"
    )
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
    """The axis that a row of a tensor extends along: -1, or -2 for the matrices of Conv1D."""
    turned = params.layout == "conv1d" and num_axes == 2
    return -2 if turned and set(tensor.split(".")) & set(CONV1D) else -1


def whole_tensors(tensor: str, shape: tuple[int, ...], params: Params) -> bool:
    """Whether a block of some of the tensor's first axis would cut what is ranked here."""
    return bool(shape) and along(tensor, len(shape), params) == -len(shape)


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """Some rows at a time, whose ranks and draws lie in the cache."""
    import numpy as np

    shape = block.deltas[0].shape
    turned = len(shape) > 1 and along(block.tensor, len(shape), params) == -2

    def rows(array: np.ndarray) -> np.ndarray:
        """A view in which every row is what feeds one output."""
        flat = array.reshape(-1, shape[-1] if shape else 1)
        return flat.T if turned else flat

    draws = [block.draws(params.operator_seed, i) for i in range(len(block.deltas))]
    pairs = [(rows(d), rows(drawn)) for d, drawn in zip(block.deltas, draws, strict=True)]
    merged, average = np.empty(shape), elected_mean if params.elect else mean
    probabilities = keep_probabilities(pairs[0][0].shape[1], params)
    step = max(1, GROUP // len(probabilities))
    for start in range(0, len(rows(merged)), step):
        some = slice(start, start + step)
        kept = [_kept(delta[some], drawn[some], probabilities) for delta, drawn in pairs]
        rows(merged)[some] = average(kept)
    return merged


def _kept(delta: np.ndarray, drawn: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """What is kept of some rows, rescaled; fp64."""
    import numpy as np

    from ..order_statistics import by_rank

    delta, drawn = np.ascontiguousarray(delta), np.ascontiguousarray(drawn)
    probability = by_rank(delta, probabilities)
    kept = delta / probability
    probability *= 2**32
    kept *= drawn < probability
    return kept


def keep_probabilities(n: int, params: Params) -> np.ndarray:
    """p of each rank in a row of n entries, from the smallest magnitude; fp64."""
    import numpy as np

    if n < 2:
        return np.full(n, params.density)
    return params.density - params.epsilon + 2 * params.epsilon * np.arange(n) / (n - 1)
