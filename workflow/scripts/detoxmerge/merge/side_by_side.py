"""N task vectors side by side, a block at a time; unlike layouts, NaN and infinity stop it."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import UserError
from ..storage.reading import Weights
from ..storage.tensors import Shape, require_layout, row_blocks
from ..storage.workers import by_workers
from .blocks import PASS_ELEMENTS, Block, Place
from .per_layer import excluded_tensors
from .squares import all_below, sums_of_squares
from .task_vectors import TaskVector, open_delta

SAMPLE_ELEMENTS, SAMPLE_RUN = 1 << 18, 1 << 12

T = TypeVar("T")


@dataclass(frozen=True)
class TaskVectors:
    """What is merged; made by `side_by_side`."""

    vectors: list[TaskVector]  # sorted by path, or by the keys that the caller gave
    order: list[int]  # where each of these stood in what the caller gave
    shapes: dict[str, Shape]  # of the tensors that are merged, in the order of merging
    excluded: dict[str, Shape]  # of those that are not
    num_texts: list[int | None] | None = None  # in the caller's order
    base: Weights | None = None
    workers: int = 1  # processes; no number depends on it

    def __len__(self) -> int:
        """N."""
        return len(self.vectors)

    def num_elements(self, *tensors: str) -> int:
        """Elements of some tensors of one vector; without names, of all that are merged."""
        return sum(int(np.prod(self.shapes[t], dtype=np.int64)) for t in tensors or self.shapes)

    def places(
        self,
        block_elements: int,
        tensors: Iterable[str] = (),
        whole: Callable[[str], bool] = lambda tensor: False,
    ) -> Iterator[Place]:
        """Where the blocks of a pass lie.

        Args:
            block_elements: of one vector in a block, about: a block is some whole rows.
            tensors: names; none: all that are merged.
            whole: says of a tensor whether it must not be cut.

        Yields:
            Places; a block's shape is the tensor's, but for the number of rows.
        """
        for tensor in tensors or self.shapes:
            shape = self.shapes[tensor]
            if not shape:
                yield Place(tensor, 0, shape)
            if not shape or 0 in shape:
                continue
            row = int(np.prod(shape[1:], dtype=np.int64))
            elements = math.prod(shape) if whole(tensor) else block_elements
            for rows in row_blocks(shape, elements):
                yield Place(tensor, rows.start * row, (rows.stop - rows.start, *shape[1:]))

    def read(self, place: Place) -> Block:
        """A block.

        Args:
            place: of `places`.

        Returns:
            New arrays, with the base's elements if there is a base.

        Raises:
            UserError: a value of a vector or of the base is not finite; it is named.
        """
        count, base = int(np.prod(place.shape, dtype=np.int64)), None
        if self.base is not None:
            base = self.base.read(place.tensor, place.start, np.empty(count, np.float32))
            if not all_below(np.inf, base):
                raise UserError(
                    f"{self.base.file_of[place.tensor]}: tensor '{place.tensor}' holds NaN or "
                    "infinity; fetch the base model again"
                )
        deltas = np.empty((len(self.vectors), count), np.float32)
        for vector, delta in zip(self.vectors, deltas, strict=True):
            vector.read(place.tensor, place.start, delta)
            if place.tensor in vector.whole:
                np.subtract(delta, base, out=delta)
        squares = self._squares(deltas, place.tensor)
        of_each = [delta.reshape(place.shape) for delta in deltas]
        return Block(place.tensor, place.start, of_each, squares, base)

    def _squares(self, deltas: np.ndarray, tensor: str) -> list[float]:
        """Sums of squares of each vector's part, (N, elements)."""
        found = sums_of_squares(deltas)
        for vector, delta, square in zip(self.vectors, deltas, found, strict=True):
            if not math.isfinite(square):
                raise UserError(
                    f"{vector.said}: tensor '{tensor}' holds {int((~np.isfinite(delta)).sum())} "
                    "values that are NaN or infinite; it cannot be merged: delete it and train it "
                    "again, with a lower learning rate if it diverged"
                )
        return found

    def each(
        self,
        function: Callable[[Block], T],
        *tensors: str,
        block_elements: int = PASS_ELEMENTS,
    ) -> Iterator[T]:
        """One pass over some tensors, or all that are merged, before they are.

        Args:
            function: of a block; workers call it.
            tensors: names; none: all.
            block_elements: as in `places`.

        Yields:
            What the function makes of each block, in their order.

        Raises:
            UserError: a vector holds NaN or infinity.
        """

        def work(place: Place) -> T:
            return function(self.read(place))

        return by_workers(work, self.places(block_elements, tensors), self.workers)

    def by_tensor(
        self, function: Callable[["TaskVectors", str], T], tensors: Iterable[str]
    ) -> dict[str, T]:
        """What needs passes over one tensor after another.

        Args:
            function: of the vectors and a tensor's name; workers call it.
            tensors: names.

        Returns:
            name -> what the function returned.
        """
        names, alone = list(tensors), replace(self, workers=1)
        found = by_workers(lambda name: function(alone, name), names, self.workers)
        return dict(zip(names, found, strict=True))

    def sample(self, *tensors: str) -> list[np.ndarray]:
        """Elements of each vector, spread evenly: some end to end, then some left out.

        Args:
            tensors: names; none: all that are merged.

        Returns:
            N arrays, fp32; all elements, if they are not many.

        Raises:
            UserError: a vector holds NaN or infinity.
        """
        step = SAMPLE_RUN * max(1, self.num_elements(*tensors) // SAMPLE_ELEMENTS)

        def places() -> Iterator[Place]:
            first = 0
            for tensor in tensors or self.shapes:
                size = self.num_elements(tensor)
                for start in range(first, size, step):
                    yield Place(tensor, start, (min(SAMPLE_RUN, size - start),))
                first = (first - size) % step

        parts = [self.read(place).deltas for place in places()]
        return [np.concatenate(own) for own in zip(*parts, strict=True)]

    def deltas(self, function: Callable[[list[np.ndarray]], T], *tensors: str) -> Iterator[T]:
        """As `each`, of the bare arrays, for what does not depend on how they are cut."""
        large = 4 * PASS_ELEMENTS
        return self.each(lambda block: function(block.deltas), *tensors, block_elements=large)


def side_by_side(
    vectors: list[TaskVector],
    exclude: Iterable[str] = (),
    num_texts: list[int | None] | None = None,
    base: Weights | None = None,
    workers: int = 1,
    keys: list[Path] | None = None,
) -> TaskVectors:
    """Task vectors in the order of their paths, or of other keys.

    Args:
        vectors: N with the same tensors, in any order.
        exclude: parts of names of tensors to leave out (`per_layer.excluded_tensors`).
        num_texts: what each was trained on, in the order of `vectors`, where it is known.
        base: what blocks shall hold beside them; its order of tensors is that of merging.
        workers: processes that read and merge.
        keys: one for each, by which they are sorted; none: their paths.

    Returns:
        The vectors; nothing of their values is read.

    Raises:
        UserError: tensors differ in name or shape; as `excluded_tensors`.
    """
    keys = [Path(vector.said) for vector in vectors] if keys is None else keys
    order = sorted(range(len(vectors)), key=keys.__getitem__)
    vectors = [vectors[i] for i in order]
    first = vectors[0]
    for other in vectors[1:]:
        layouts = [{n: ("F32", s) for n, s in v.shapes.items()} for v in (first, other)]
        require_layout(*layouts, first.said, other.said)
    names = sorted(first.shapes) if base is None else list(first.shapes)
    excluded = excluded_tensors(names, exclude)
    kept = [name for name in names if name not in set(excluded)]
    shapes, left = ({n: first.shapes[n] for n in some} for some in (kept, excluded))
    return TaskVectors(vectors, order, shapes, left, num_texts, base, workers)


def open_deltas(paths: list[Path]) -> TaskVectors:
    """Task vectors of this project, in the order of their paths.

    Args:
        paths: at least one file, fp32.

    Returns:
        The vectors.

    Raises:
        UserError: tensors differ in name or shape, or are not fp32.
    """
    return side_by_side([open_delta(path) for path in paths])
