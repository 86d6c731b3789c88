"""From N task vectors to one: streamed, fp64, the same bytes whatever the order of the vectors."""

import contextlib
import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import BaseModel

from ..errors import UserError
from ..plan.registry import OPERATORS
from ..storage.workers import by_workers, keep_freed_memory
from ..storage.writing import write_tensors
from .blocks import Block, Place
from .per_layer import excluded_tensors, lines_factors
from .side_by_side import TaskVectors, side_by_side
from .squares import sum_of_squares
from .task_vectors import open_delta

PLACE_ELEMENTS = 1 << 18  # of one vector, that a worker takes
BLOCK_ELEMENTS = 1 << 16  # that it reads and merges: what it makes of them lies in the cache

T = TypeVar("T")


class Operator(Protocol):
    """A file of operators/, or what has its `merge`."""

    def merge(self, block: Block, params: Any, context: Any) -> np.ndarray:
        """A block of the merged vector, fp64."""


@dataclass(frozen=True)
class Merge:
    """An operator that has seen what it needs of whole tensors; made by `prepare_merge`."""

    vectors: TaskVectors
    operator: Operator
    params: BaseModel
    context: Any  # what the operator needs of whole tensors; each has a type of its own
    facts: dict[str, Any]  # what the operator found out about the vectors, for the manifest
    factors: dict[str, float]  # of LiNeS, by tensor; empty without it

    def blocks(
        self, finish: Callable[[Block, np.ndarray, float], T]
    ) -> Generator[tuple[Place, list[T], np.ndarray], None, None]:
        """Merge, a place at a time in the order of the tensors, by `vectors.workers` processes.

        Args:
            finish: keeps the merged values of a block, fp32, and gets their sum of squares, too;
                workers call it, so what it changes must be a file.

        Yields:
            The place; what `finish` returned for each of its blocks; (N,), the sums of squares of
            the vectors' parts.

        Raises:
            UserError: a value is NaN or infinite, or becomes too large for fp32.
        """
        whole_tensors = getattr(self.operator, "whole_tensors", lambda *_: False)

        def whole(tensor: str) -> bool:
            return whole_tensors(tensor, self.vectors.shapes[tensor], self.params)

        def work(place: Place) -> tuple[Place, list[T], np.ndarray]:
            results, squares = [], np.zeros(len(self.vectors))
            # an overflow is found by the sums of squares
            with np.errstate(over="ignore", invalid="ignore"):
                for part in [place] if whole(place.tensor) else place.parts(BLOCK_ELEMENTS):
                    block = self.vectors.read(part)
                    results.append(finish(block, *self._merged(block)))
                    squares += block.squares
            return place, results, squares

        places = self.vectors.places(PLACE_ELEMENTS, whole=whole)
        yield from by_workers(work, places, self.vectors.workers)

    def _merged(self, block: Block) -> tuple[np.ndarray, float]:
        """The merged values of a block, fp32, and their sum of squares."""
        merged = self.operator.merge(block, self.params, self.context)
        if self.factors:
            merged = merged * self.factors[block.tensor]
        rounded = np.array(merged, np.float32)
        square = sum_of_squares(rounded)
        if not math.isfinite(square):
            raise UserError(f"tensor '{block.tensor}': the merged values are too large for fp32")
        return rounded, square


def prepare_merge(
    vectors: TaskVectors,
    operator: str,
    params: BaseModel | None = None,
    lines: tuple[float, float | None] | None = None,
) -> Merge:
    """Check an operator's parameters, and let it look at the vectors.

    Args:
        vectors: of `side_by_side`.
        operator: a name in `plan.registry.OPERATORS`.
        params: has the fields of the operator's ``Params``; None for its defaults.
        lines: alpha and beta of `per_layer.lines_factors`; None for no factors.

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
    """Merge task vectors of this project into one file; as `merge_vectors`.

    Args:
        paths: N files with the same tensors, fp32; they are taken in the order of their paths.
        operator: as there.
        out: as there.
        params: as there.
        num_texts: how many each was trained on, in the order of `paths`, where it is known.
        exclude: parts of names of tensors that no operator sees; the merged vector has 0 there.
        lines: as there.
        workers: processes that merge; with 1 the caller's own merges.

    Raises:
        UserError: as there; tensors differ in name or shape, or are not fp32.
    """
    opened = [open_delta(path) for path in paths]
    excluded = excluded_tensors(opened[0].shapes, exclude, lambda: opened[0].other_names)
    vectors = side_by_side(opened, excluded, num_texts, workers=workers)
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

    Vectors are taken in sorted order, sums are fp64 and rounded once to fp32: the bytes depend
    neither on the order that the caller gave nor on the number of workers. In memory are, for each
    worker, some blocks of each vector.

    Args:
        vectors: of `side_by_side`.
        operator: a name in `plan.registry.OPERATORS`.
        out: the merged vector, fp32.
        params: has the fields of the operator's ``Params``; None for its defaults.
        lines: alpha and beta of `per_layer.lines_factors`; None for no factors.

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
    """As `merge_vectors`, by an operator that has seen what it needs, from operators/ or not."""
    vectors = merge.vectors
    squares, merged_square = np.zeros(len(vectors)), 0.0
    with write_tensors(out, vectors.shapes | vectors.excluded) as writer:

        def finish(block: Block, merged: np.ndarray, square: float) -> float:
            writer.write_at(block.tensor, block.start, merged)
            return square

        # closed before the file is, so that nobody writes to a file that is taken away
        with contextlib.closing(merge.blocks(finish)) as blocks:
            for place, block_squares, vector_squares in blocks:
                squares += vector_squares
                merged_square += sum(block_squares)
                writer.count(place.tensor, math.prod(place.shape), place.start)

        # a delta has every tensor of the model, so excluded ones are written as zeros
        for name, shape in vectors.excluded.items():
            size = int(np.prod(shape, dtype=np.int64))
            for start in range(0, size, BLOCK_ELEMENTS):
                zeros = np.zeros(min(size - start, BLOCK_ELEMENTS), np.float32)
                writer.write_at(name, start, zeros)
                writer.count(name, zeros.size)

    print_zero_vectors(vectors, squares)
    record = {"file": out.name, "sha256": writer.sha256, "l2_norm": float(np.sqrt(merged_square))}
    record |= {"shard_l2_norms": np.sqrt(squares).tolist()}
    record |= {"excluded": list(vectors.excluded)} if vectors.excluded else {}
    return record | ({"operator": merge.facts} if merge.facts else {})


def print_zero_vectors(vectors: TaskVectors, squares: np.ndarray) -> None:
    """Name fine-tunes that equal the base, which is allowed but rarely meant.

    Args:
        vectors: what was merged.
        squares: (N,), the squares of their L2 norms.
    """
    for vector, square in zip(vectors.vectors, squares, strict=True):
        if square == 0:
            print(f"{vector.label}: all values are 0; it is merged as it is")
