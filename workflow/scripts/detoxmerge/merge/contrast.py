"""From the vector of an expert and those of N anti-experts to one; streamed, as merging is.

W+ is the expert's tensor, W- the mean of the anti-experts', both fp64.

subtraction    W = W+ - alpha W-
ext-sub        W_i = W+_i - alpha (W-_i - <W-_i, u_i> u_i),  u_i = normalize(a_i + b_i)
               with a_i = W+_i / |W+_i| and b_i = W-_i / |W-_i|, for every row i

u_i halves the angle between the rows, so <W-_i, u_i> u_i = |W-_i| (a_i + b_i) / 2, and what is
subtracted is alpha |W-_i| (b_i - a_i) / 2: only the rows' norms are needed. That holds for opposite
rows too, where a_i + b_i = 0. With 0 / |0| = 0, nothing is subtracted where a row of W+ or of W- is
0; the released code gives NaN there.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..plan.entries import Entry
from .blocks import Block
from .merging import Merge, write_merged
from .operators.mean import mean
from .side_by_side import TaskVectors, side_by_side
from .task_vectors import open_delta

Norms = tuple[np.ndarray, np.ndarray]  # of the rows of W+ and W-


@dataclass(frozen=True)
class Subtraction:
    """W+ - alpha W-, as an operator."""

    expert: int  # place of the expert's vector in sorted order
    alpha: float

    def merge(self, block: Block, params: Any, context: Any) -> np.ndarray:
        """W+ - alpha W- of the block; params and context are not used."""
        expert, anti = self.split(block)
        return expert - self.alpha * anti

    def split(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """The block of W+ and that of W-, fp64."""
        antis = [delta for i, delta in enumerate(block.deltas) if i != self.expert]
        return block.deltas[self.expert].astype(np.float64), mean(antis)


@dataclass(frozen=True)
class ExtSub(Subtraction):
    """The formula of the paper, as an operator."""

    def merge(self, block: Block, params: Any, context: dict[str, Norms]) -> np.ndarray:
        """The context has the norms of rows that blocks cut; whole rows are measured here."""
        expert, anti = self.split(block)
        expert_norm, anti_norm = context.get(block.tensor) or tuple(
            np.sqrt(_squares(values, -1, keepdims=True)) for values in (expert, anti)
        )
        both = (expert_norm > 0) & (anti_norm > 0)
        ratio = np.divide(anti_norm, expert_norm, out=np.zeros(both.shape), where=both)
        return np.where(both, expert - self.alpha / 2 * (anti - ratio * expert), expert)

    def norms(self, vectors: TaskVectors, turned: Collection[str]) -> dict[str, Norms]:
        """The norms of rows that extend along the first axis, which blocks cut.

        Args:
            turned: names of matrices that are stored as (in, out).

        Returns:
            name -> the norms of W+ and W-, for each of those (out,), and for each tensor with one
            axis a single one.
        """

        def squares(block: Block) -> list[np.ndarray]:
            return [_squares(values, 0) for values in self.split(block)]

        def norms(vectors: TaskVectors, tensor: str) -> Norms:
            expert_squares, anti_squares = map(
                sum, zip(*vectors.each(squares, tensor), strict=True)
            )
            return np.sqrt(expert_squares), np.sqrt(anti_squares)

        cut = [t for t, s in vectors.shapes.items() if len(s) == 1 or t in turned]
        return vectors.by_tensor(norms, filter(vectors.num_elements, cut))


def subtract(
    expert: Path,
    antis: list[Path],
    alpha: float,
    out: Path,
    *,
    turned: Collection[str] | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Subtract anti-experts from an expert.

    A row is what feeds one output: of a matrix that nn.Linear stores as (out, in) a row, of one
    that GPT-2's Conv1D stores as (in, out) a column. Fused q, k and v lie side by side on the
    output's axis, so no row mixes them. A row of an embedding is a token; a tensor with one axis is
    one row. Sums are fp64 and rounded once; the bytes do not depend on the number of workers.

    Args:
        expert: its vector, fp32.
        antis: N vectors, fp32; their mean is taken in the order of their paths.
        alpha: factor of what is subtracted.
        out: the result, fp32.
        turned: for ext-sub, names of matrices stored as (in, out); None for plain subtraction.
        workers: processes that merge.

    Returns:
        `file`, `sha256` and `l2_norm` of the result; `expert_l2_norm`; `anti_expert_l2_norms`, in
        the order of their paths.

    Raises:
        UserError: tensors differ in name or shape, are not fp32, or hold NaN or infinity; the
            result is too large for fp32.
    """
    vectors = side_by_side([open_delta(path) for path in (expert, *antis)], workers=workers)
    place, context = vectors.order.index(0), None
    operator = Subtraction(place, alpha)
    if turned is not None:
        operator = ExtSub(place, alpha)
        context = operator.norms(vectors, turned)
    record = write_merged(Merge(vectors, operator, Entry(), context, {}, {}), out)
    norms = record.pop("shard_l2_norms")
    return record | {"expert_l2_norm": norms.pop(place), "anti_expert_l2_norms": norms}


def _squares(values: np.ndarray, axis: int, keepdims: bool = False) -> np.ndarray:
    """Sums of squares along an axis; the square of a number without axes."""
    square = np.square(values)
    return square.sum(axis=axis, keepdims=keepdims) if values.ndim else square
