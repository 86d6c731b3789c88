"""From N task vectors to one: streamed, fp64, the same bytes whatever the order of the vectors."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

from ..errors import UserError
from ..plan.registry import OPERATORS
from ..storage.workers import by_workers, keep_freed_memory
from ..storage.writing import write_tensors
from .blocks import Block, Place
from .per_layer import lines_factors
from .side_by_side import TaskVectors, side_by_side
from .squares import sum_of_squares
from .task_vectors import open_delta

PLACE_ELEMENTS = 1 << 18  # of one vector, that a worker takes
BLOCK_ELEMENTS = 1 << 16  # that it reads and merges: what it makes of them lies in the cache

T = TypeVar("T")


@dataclass(frozen=True)
class Merge:
    """An operator that has seen what it needs of whole tensors; made by `prepare_merge`."""

    vectors: TaskVectors
    module: Any  # a file of operators/, or what has its `merge`
    params: BaseModel | None
    context: Any
    facts: dict[str, Any]  # what the operator found out about the vectors
    factors: dict[str, float]  # of LiNeS; none: no factors

    def blocks(
        self, finish: Callable[[Block, np.ndarray, float], T]
    ) -> Iterator[tuple[Place, list[T], np.ndarray]]:
        """Merge, a place at a time in the order of the tensors, by `vectors.workers`.

        Args:
            finish: keeps the merged values of a block, fp32, and gets their sum of squares, too;
                workers call it, so what it changes must be a file.

        Yields:
            Where; what `finish` returned for each of its blocks; (N,), the sums of squares of the
            vectors' parts.

        Raises:
            UserError: a value is NaN or infinite, or becomes too large for fp32.
        """

        whole_tensors = getattr(self.module, "whole_tensors", lambda *_: False)

        def whole(tensor: str) -> bool:
            return whole_tensors(tensor, self.vectors.shapes[tensor], self.params)

        def work(place: Place) -> tuple[Place, list[T], np.ndarray]:
            found, squares = [], np.zeros(len(self.vectors))
            with np.errstate(over="ignore", invalid="ignore"):  # is found by the sums of squares
                for part in [place] if whole(place.tensor) else place.parts(BLOCK_ELEMENTS):
                    block = self.vectors.read(part)
                    found.append(finish(block, *self._merged(block)))
                    squares += block.squares
            return place, found, squares

        places = self.vectors.places(PLACE_ELEMENTS, whole=whole)
        yield from by_workers(work, places, self.vectors.workers)

    def _merged(self, block: Block) -> tuple[np.ndarray, float]:
        """The merged values of a block, fp32, and their sum of squares."""
        merged = self.module.merge(block, self.params, self.context)
        if self.factors:
            merged = merged * self.factors[block.tensor]
        found = np.array(merged, np.float32)
        square = sum_of_squares(found)
        if not math.isfinite(square):
            said = f"tensor '{block.tensor}': the merged values are too large for fp32"
            raise UserError(said)
        return found, square


def prepare_merge(
    vectors: TaskVectors,
    operator: str,
    params: BaseModel | None = None,
    lines: tuple[float, float | None] | None = None,
) -> Merge:
    """Let an operator look at the vectors.

    Args:
        vectors: of `side_by_side`.
        operator: a name in `plan.registry.OPERATORS`.
        params: has the fields of the operator's ``Params``; none: its defaults.
        lines: alpha and beta of `per_layer.lines_factors`; none: no factors.

    Returns:
        What merges them.

    Raises:
        UserError: the operator refuses N vectors, or one holds NaN or infinity.
    """
    module = OPERATORS[operator]
    params = module.Params() if params is None else params
    try:
        getattr(module, "check", lambda params, n: None)(params, len(vectors))
    except ValueError as error:
        raise UserError(str(error)) from None
    keep_freed_memory()
    context, facts = None, {}
    if hasattr(module, "prepare"):
        context, facts = module.prepare(vectors, params)
    factors = lines_factors([*vectors.shapes, *vectors.excluded], *lines) if lines else {}
    return Merge(vectors, module, params, context, facts, factors)


def merge_deltas(
    paths: list[Path],
    operator: str,
    out: Path,
    params: BaseModel | None = None,
    *,
    num_texts: list[int | None] | None = None,
    exclude: Iterable[str] = (),
    lines: tuple[float, float | None] | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Merge task vectors of this project into one file.

    Args:
        paths: N files with the same tensors, fp32; they are taken in the order of their paths.
        operator: as in `merge_vectors`.
        out: the merged vector, fp32.
        params: as there.
        num_texts: that each was trained on, in the order of `paths`, where it is known.
        exclude: parts of names of tensors that no operator sees; the merged vector has 0 there.
        lines: as there.
        workers: processes that merge; the caller's own, if it is one.

    Returns:
        As `merge_vectors`.

    Raises:
        UserError: as there; tensors differ in name or shape, or are not fp32.
    """
    deltas = [open_delta(path) for path in paths]
    vectors = side_by_side(deltas, exclude, num_texts, workers=workers)
    return merge_vectors(vectors, operator, out, params, lines=lines)


def merge_vectors(
    vectors: TaskVectors,
    operator: str,
    out: Path,
    params: BaseModel | None = None,
    *,
    lines: tuple[float, float | None] | None = None,
) -> dict[str, Any]:
    """Merge task vectors into one file.

    TaskVectors are taken in sorted order, sums are fp64 and rounded once to fp32: the bytes depend
    neither on the order that the caller gave nor on the number of workers. In memory are, for each
    worker, some blocks of each vector.

    Args:
        vectors: of `side_by_side`.
        operator: a name in `plan.registry.OPERATORS`.
        out: the merged vector, fp32.
        params: has the fields of the operator's ``Params``; none: its defaults.
        lines: alpha and beta of `per_layer.lines_factors`; none: no factors.

    Returns:
        `file`, `sha256` and `l2_norm` of the merged vector, `shard_l2_norms` in sorted order, over
        the tensors that are merged. Only where there are any: `excluded`, names of tensors, and
        `operator`, what it found out about the vectors.

    Raises:
        UserError: a vector holds NaN or infinity; the operator refuses N of them; the merged one
            is too large for fp32.
    """
    return write_merged(prepare_merge(vectors, operator, params, lines), out)


def write_merged(merge: Merge, out: Path) -> dict[str, Any]:
    """As `merge_vectors`, by an operator that has seen what it needs.

    Args:
        merge: of `prepare_merge`, or with an operator of another origin.
        out: the merged vector, fp32.

    Returns:
        As there.

    Raises:
        UserError: as there.
    """
    vectors = merge.vectors
    squares, merged_square = np.zeros(len(vectors)), 0.0
    with write_tensors(out, vectors.shapes | vectors.excluded) as writer:

        def finish(block: Block, merged: np.ndarray, square: float) -> float:
            writer.write_at(block.tensor, block.start, merged)
            return square

        # closed before the file is, so that nobody writes to a file that is taken away
        with contextlib.closing(merge.blocks(finish)) as blocks:
            for place, found, of_vectors in blocks:
                squares += of_vectors
                merged_square += sum(found)
                writer.count(place.tensor, math.prod(place.shape), place.start)
        for name, shape in vectors.excluded.items():
            left = int(np.prod(shape, dtype=np.int64))
            for start in range(0, left, BLOCK_ELEMENTS):
                zeros = np.zeros(min(left - start, BLOCK_ELEMENTS), np.float32)
                writer.write_at(name, start, zeros)
                writer.count(name, zeros.size)
    say_zero_vectors(vectors, squares)
    said = {"file": out.name, "sha256": writer.sha256, "l2_norm": float(np.sqrt(merged_square))}
    said |= {"shard_l2_norms": np.sqrt(squares).tolist()}
    said |= {"excluded": list(vectors.excluded)} if vectors.excluded else {}
    return said | ({"operator": merge.facts} if merge.facts else {})


def say_zero_vectors(vectors: TaskVectors, squares: np.ndarray) -> None:
    """Tell of vectors whose fine-tune is the base itself: allowed, but hardly meant.

    Args:
        vectors: what was merged.
        squares: (N,), of the vectors' norms.
    """
    for vector, square in zip(vectors.vectors, squares, strict=True):
        if square == 0:
            print(f"{vector.said}: all values are 0; it is merged as it is")
