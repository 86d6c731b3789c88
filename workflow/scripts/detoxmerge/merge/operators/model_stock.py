"""Model Stock: the mean of each tensor, shrunk by what the vectors' angles say of its noise.

    tau* = t mean_i tau_i,  t = N c / (1 + (N - 1) c),  c = mean over pairs of cos(tau_i, tau_j)

tensor by tensor (Jang et al., ECCV 2024, arXiv 2403.19522; for N > 2 c is the mean over pairs, as
in mergekit). A zero vector has the cosine 0 to all others. Where c < 0, t is set to 0: the formula
would make it negative or have a pole, and there is no common direction to keep. The manifest says
in how many tensors this is so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...plan.entries import Entry
from .mean import mean

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block
    from ..side_by_side import TaskVectors

REFERENCE = "Jang et al., ECCV 2024"
VERSION = 1
READS = 2


class Params(Entry):
    """There are none."""


def check(params: Params, n: int) -> None:
    """Raise ValueError if there is no pair."""
    if n < 2:
        raise ValueError("operator model_stock compares task vectors: n must be 2 or more")


def prepare(vectors: TaskVectors, params: Params) -> tuple[dict[str, float], dict[str, Any]]:
    """tensor -> t; one pass."""
    cosines = vectors.by_tensor(_mean_cosine, vectors.shapes)
    negative = sum(cosine < 0 for cosine in cosines.values())
    factors = {tensor: shrinkage(cosine, len(vectors)) for tensor, cosine in cosines.items()}
    return factors, {"shrinkage": factors, "num_tensors_with_negative_cosine": negative}


def _mean_cosine(vectors: TaskVectors, tensor: str) -> float:
    return mean_cosine(sum(vectors.each(lambda block: gram(block.deltas), tensor)))


def merge(block: Block, params: Params, context: dict[str, float]) -> np.ndarray:
    """The mean, shrunk by the tensor's t."""
    return context[block.tensor] * mean(block.deltas)


def shrinkage(cosine: float, n: int) -> float:
    """t of a mean cosine c and N vectors, 0..1."""
    cosine = max(0.0, cosine)
    return n * cosine / (1 + (n - 1) * cosine)


def gram(deltas: list[np.ndarray]) -> np.ndarray:
    """Inner products of N arrays of one shape, (N, N), fp64."""
    import numpy as np

    flat = np.stack(deltas).reshape(len(deltas), -1).astype(np.float64)
    # not by BLAS: its threads cut the sum, and then its last bits depend on their number
    return np.stack([np.einsum("b,jb->j", row, flat) for row in flat])


def mean_cosine(products: np.ndarray | float) -> float:
    """The mean cosine over pairs of different vectors.

    Args:
        products: of `gram`, (N, N); a number if there was no block.

    Returns:
        -1..1; pairs with a vector that is zero count as 0.
    """
    import numpy as np

    if not np.ndim(products):
        return 0.0
    norms = np.sqrt(np.diag(products))
    scale = np.outer(norms, norms)
    cosines = np.divide(products, scale, out=np.zeros_like(scale), where=scale > 0)
    return float(cosines[np.triu_indices(len(norms), 1)].mean())
