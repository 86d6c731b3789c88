"""N task vectors side by side, read a block at a time; NaN, infinity and unlike tensors stop it."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import UserError
from ..storage.reading import Weights
from ..storage.tensors import Shape, require_layout, row_blocks
from ..storage.workers import by_workers
from .blocks import PASS_ELEMENTS, Block, Place
from .squares import all_below, sums_of_squares
from .task_vectors import TaskVector, open_delta

SAMPLE_ELEMENTS, SAMPLE_RUN = 1 << 18, 1 << 12

T = TypeVar("T")


@dataclass(frozen=True)
class TaskVectors:
    """What is merged; made by `side_by_side`. Its length is N."""

    vectors: list[TaskVector]  # sorted by path, or by the keys that the caller gave
    order: list[int]  # place of each of these in what the caller gave
    shapes: dict[str, Shape]  # of the tensors that are merged, in the order of merging
    excluded: dict[str, Shape]  # of those that are not
    num_texts: list[int | None] | None = None  # in the caller's order
    base: Weights | None = None
    workers: int = 1  # processes; no number depends on it

    def __len__(self) -> int:
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
        """Where the blocks of a pass lie, in the order of the tensors.

        Args:
            block_elements: of one vector in a block, about: a block is some rows.
            tensors: names; all that are merged, if there are none.
            whole: whether a tensor, by its name, must not be cut.

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
        """A block, in new arrays, with the base's elements if there is a base.

        Raises:
            UserError: a value of a vector or of the base is not finite; the file is named.
        """
        count, base = int(np.prod(place.shape, dtype=np.int64)), None
        if self.base is not None:
            base = self.base.read(place.tensor, place.start, np.empty(count, np.float32))
            if not all_below(np.inf, base):
                raise UserError(
                    f"{self.base.file_of[place.tensor]}: tensor '{place.tensor}' holds NaN or "
                    "infinity; fetch the base model again"
                )

        # one array for all, so that the sums of squares are taken in one call
        deltas = np.empty((len(self), count), np.float32)
        for vector, delta in zip(self.vectors, deltas, strict=True):
            vector.read(place.tensor, place.start, delta)
            if place.tensor in vector.whole:
                if base is None:
                    raise ValueError(f"{vector.label} holds whole weights, which need a base")
                np.subtract(delta, base, out=delta)
        squares = self._squares(deltas, place.tensor)
        shaped = [delta.reshape(place.shape) for delta in deltas]
        return Block(place.tensor, place.start, shaped, squares, base)

    def _squares(self, deltas: np.ndarray, tensor: str) -> list[float]:
        """Sums of squares of each row of (N, elements), which also show NaN and infinity."""
        squares = sums_of_squares(deltas)
        for vector, delta, square in zip(self.vectors, deltas, squares, strict=True):
            if not math.isfinite(square):
                raise UserError(
                    f"{vector.label}: tensor '{tensor}' holds {int((~np.isfinite(delta)).sum())} "
                    "values that are NaN or infinite; it cannot be merged: delete it and train it "
                    "again, with a lower learning rate if it diverged"
                )
        return squares

    def each(
        self,
        function: Callable[[Block], T],
        *tensors: str,
        block_elements: int = PASS_ELEMENTS,
    ) -> Iterator[T]:
        """One pass over some tensors, or over all that are merged, before they are.

        Args:
            function: workers call it with each block.
            tensors: names; all that are merged, if there are none.
            block_elements: as in `places`.

        Yields:
            What the function returns, in the order of the blocks.

        Raises:
            UserError: as `read`.
        """

        def work(place: Place) -> T:
            return function(self.read(place))

        return by_workers(work, self.places(block_elements, tensors), self.workers)

    def by_tensor(
        self, function: Callable[["TaskVectors", str], T], tensors: Iterable[str]
    ) -> dict[str, T]:
        """For what needs passes over one tensor after another: name -> what a function returns.

        Args:
            function: workers call it with these vectors and a tensor's name.
            tensors: names.
        """
        names, alone = list(tensors), replace(self, workers=1)  # a worker starts no others
        results = by_workers(lambda name: function(alone, name), names, self.workers)
        return dict(zip(names, results, strict=True))

    def sample(self, *tensors: str) -> list[np.ndarray]:
        """Elements of each vector in short runs, which are spread evenly over the tensors.

        Args:
            tensors: names; all that are merged, if there are none.

        Returns:
            N arrays, fp32, of some 2**18 elements; of all elements, if they are fewer.

        Raises:
            UserError: as `read`.
        """
        step = SAMPLE_RUN * max(1, self.num_elements(*tensors) // SAMPLE_ELEMENTS)

        def places() -> Iterator[Place]:
            first = 0  # of the next run in this tensor; the even spacing goes on across tensors
            for tensor in tensors or self.shapes:
                size = self.num_elements(tensor)
                for start in range(first, size, step):
                    yield Place(tensor, start, (min(SAMPLE_RUN, size - start),))
                first = (first - size) % step

        runs = [self.read(place).deltas for place in places()]
        return [np.concatenate(of_vector) for of_vector in zip(*runs, strict=True)]

    def deltas(self, function: Callable[[list[np.ndarray]], T], *tensors: str) -> Iterator[T]:
        """As `each`, with the bare arrays, for what does not depend on how they are cut."""
        large = 4 * PASS_ELEMENTS
        return self.each(lambda block: function(block.deltas), *tensors, block_elements=large)


def side_by_side(
    vectors: list[TaskVector],
    excluded: Collection[str] = (),
    num_texts: list[int | None] | None = None,
    base: Weights | None = None,
    workers: int = 1,
    keys: list[Path] | None = None,
) -> TaskVectors:
    """Task vectors in the order of their paths, or of other keys; no value is read yet.

    Args:
        vectors: N with the same tensors, in any order.
        excluded: names of tensors to leave out (`per_layer.excluded_tensors`).
        num_texts: how many each was trained on, in the order of `vectors`, where it is known.
        base: what blocks hold beside them; its order of tensors becomes that of merging.
        workers: processes that read and merge.
        keys: what they are sorted by, one for each; None for their paths.

    Raises:
        UserError: tensors differ in name or shape.
    """
    keys = [Path(vector.label) for vector in vectors] if keys is None else keys
    order = sorted(range(len(vectors)), key=keys.__getitem__)
    vectors = [vectors[i] for i in order]

    first = vectors[0]
    for other in vectors[1:]:
        expected, found = ({n: ("F32", s) for n, s in v.shapes.items()} for v in (first, other))
        require_layout(expected, found, first.label, other.label)

    names = sorted(first.shapes) if base is None else list(first.shapes)
    merged = [name for name in names if name not in set(excluded)]
    shapes, rest = ({n: first.shapes[n] for n in some} for some in (merged, sorted(excluded)))
    return TaskVectors(vectors, order, shapes, rest, num_texts, base, workers)


def open_deltas(paths: list[Path]) -> TaskVectors:
    """Task vectors of this project, fp32, in the order of their paths.

    Raises:
        UserError: tensors differ in name or shape, or are not fp32.
    """
    return side_by_side([open_delta(path) for path in paths])
