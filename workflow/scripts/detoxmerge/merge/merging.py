"""From N task vectors to one: streamed, fp64, the same bytes whatever the order of the shards."""

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
from .side_by_side import Shards, side_by_side
from .squares import sum_of_squares
from .task_vectors import open_delta

PLACE_ELEMENTS = 1 << 18  # of one shard, that a worker takes
BLOCK_ELEMENTS = 1 << 16  # that it reads and merges: what it makes of them lies in the cache

T = TypeVar("T")


@dataclass(frozen=True)
class Merge:
    """An operator that has seen what it needs of whole tensors; made by `prepare_merge`."""

    shards: Shards
    module: Any  # a file of operators/, or what has its `merge`
    params: BaseModel | None
    context: Any
    facts: dict[str, Any]  # what the operator found out about the shards
    factors: dict[str, float]  # of LiNeS; none: no factors

    def blocks(
        self, finish: Callable[[Block, np.ndarray, float], T]
    ) -> Iterator[tuple[Place, list[T], np.ndarray]]:
        """Merge, a place at a time in the order of the tensors, by `shards.workers`.

        Args:
            finish: keeps the merged values of a block, fp32, and gets their sum of squares, too;
                workers call it, so what it changes must be a file.

        Yields:
            Where; what `finish` returned for each of its blocks; (N,), the sums of squares of the
            shards' parts.

        Raises:
            UserError: a value is NaN or infinite, or becomes too large for fp32.
        """

        def work(place: Place) -> tuple[Place, list[T], np.ndarray]:
            found, squares = [], np.zeros(len(self.shards.vectors))
            with np.errstate(over="ignore", invalid="ignore"):  # is found by the sums of squares
                for part in place.parts(BLOCK_ELEMENTS):
                    block = self.shards.read(part)
                    found.append(finish(block, *self._merged(block)))
                    squares += block.squares
            return place, found, squares

        by_columns = getattr(self.module, "by_columns", lambda *_: False)
        places = self.shards.places(
            PLACE_ELEMENTS, by_columns=lambda *tensor: by_columns(*tensor, self.params)
        )
        yield from by_workers(work, places, self.shards.workers)

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
    shards: Shards,
    operator: str,
    params: BaseModel | None = None,
    lines: tuple[float, float | None] | None = None,
) -> Merge:
    """Let an operator look at the shards.

    Args:
        shards: of `side_by_side`.
        operator: a name in `plan.registry.OPERATORS`.
        params: has the fields of the operator's ``Params``; none: its defaults.
        lines: alpha and beta of `scaling.lines_factors`; none: no factors.

    Returns:
        What merges them.

    Raises:
        UserError: the operator refuses N shards, or a shard holds NaN or infinity.
    """
    module = OPERATORS[operator]
    params = module.Params() if params is None else params
    try:
        getattr(module, "check", lambda params, n: None)(params, len(shards.vectors))
    except ValueError as error:
        raise UserError(str(error)) from None
    keep_freed_memory()
    context, facts = None, {}
    if hasattr(module, "prepare"):
        context, facts = module.prepare(shards, params)
    factors = lines_factors([*shards.shapes, *shards.excluded], *lines) if lines else {}
    return Merge(shards, module, params, context, facts, factors)


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
        operator: as in `merge_shards`.
        out: the merged vector, fp32.
        params: as there.
        num_texts: of each shard, in the order of `paths`, where it is known.
        exclude: parts of names of tensors that no operator sees; the merged vector has 0 there.
        lines: as there.
        workers: processes that merge; the caller's own, if it is one.

    Returns:
        As `merge_shards`.

    Raises:
        UserError: as there; tensors differ in name or shape, or are not fp32.
    """
    vectors = [open_delta(path) for path in paths]
    shards = side_by_side(vectors, exclude, num_texts, workers=workers)
    return merge_shards(shards, operator, out, params, lines=lines)


def merge_shards(
    shards: Shards,
    operator: str,
    out: Path,
    params: BaseModel | None = None,
    *,
    lines: tuple[float, float | None] | None = None,
) -> dict[str, Any]:
    """Merge task vectors into one file.

    Shards are taken in sorted order, sums are fp64 and rounded once to fp32: the bytes depend
    neither on the order that the caller gave nor on the number of workers. In memory are, for each
    worker, some blocks of each shard.

    Args:
        shards: of `side_by_side`.
        operator: a name in `plan.registry.OPERATORS`.
        out: the merged vector, fp32.
        params: has the fields of the operator's ``Params``; none: its defaults.
        lines: alpha and beta of `scaling.lines_factors`; none: no factors.

    Returns:
        `file`, `sha256` and `l2_norm` of the merged vector, `shard_l2_norms` in sorted order, over
        the tensors that are merged. Only where there are any: `excluded`, names of tensors, and
        `operator`, what it found out about the shards.

    Raises:
        UserError: a shard holds NaN or infinity; the operator refuses N shards; the merged vector
            is too large for fp32.
    """
    return write_merged(prepare_merge(shards, operator, params, lines), out)


def write_merged(merge: Merge, out: Path) -> dict[str, Any]:
    """As `merge_shards`, by an operator that has seen what it needs.

    Args:
        merge: of `prepare_merge`, or with an operator of another origin.
        out: the merged vector, fp32.

    Returns:
        As there.

    Raises:
        UserError: as there.
    """
    shards = merge.shards
    squares, merged_square = np.zeros(len(shards.vectors)), 0.0
    with write_tensors(out, shards.shapes | shards.excluded) as writer:

        def finish(block: Block, merged: np.ndarray, square: float) -> float:
            writer.write_at(block.tensor, block.start, merged, block.row)
            return square

        # closed before the file is, so that nobody writes to a file that is taken away
        with contextlib.closing(merge.blocks(finish)) as blocks:
            for place, found, of_shards in blocks:
                squares += of_shards
                merged_square += sum(found)
                writer.count(place.tensor, math.prod(place.shape), place.first_open)
        for name, shape in shards.excluded.items():
            left = int(np.prod(shape, dtype=np.int64))
            for start in range(0, left, BLOCK_ELEMENTS):
                zeros = np.zeros(min(left - start, BLOCK_ELEMENTS), np.float32)
                writer.write_at(name, start, zeros)
                writer.count(name, zeros.size)
    say_zero_vectors(shards, squares)
    said = {"file": out.name, "sha256": writer.sha256, "l2_norm": float(np.sqrt(merged_square))}
    said |= {"shard_l2_norms": np.sqrt(squares).tolist()}
    said |= {"excluded": list(shards.excluded)} if shards.excluded else {}
    return said | ({"operator": merge.facts} if merge.facts else {})


def say_zero_vectors(shards: Shards, squares: np.ndarray) -> None:
    """Tell of shards that are the base itself: allowed, but hardly meant.

    Args:
        shards: what was merged.
        squares: (N,), of the vectors' norms.
    """
    for vector, square in zip(shards.vectors, squares, strict=True):
        if square == 0:
            print(f"{vector.said}: all values are 0; it is merged as it is")
