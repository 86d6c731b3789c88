"""What is read and merged at a time: some rows of a tensor of every vector, or some columns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..storage.tensors import Shape, parts_of_rows, row_blocks
from .randomness import draws, normals

# of an operator's passes before it merges: the last bit of an fp64 sum depends on how it is cut,
# so this is fixed, whatever the blocks of the merge
PASS_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Block:
    """What is read at a time: some elements of a tensor, of every vector."""

    tensor: str
    start: int  # place of the first element in the tensor, row-major
    deltas: list[np.ndarray]  # N of one shape, fp32, in the order of the vectors; an operator's own
    squares: list[float]  # of each vector's part the sum of squares
    base: np.ndarray | None = None  # the base's elements, where they are known
    row: int | None = None  # as in `Place`

    def draws(self, seed: int, vector: int) -> np.ndarray:
        """Random numbers for the entries of one vector, uint32, uniform in 0 .. 2**32 - 1."""
        like, key = self.deltas[vector], f"{seed}/{vector}/{self.tensor}"
        if not parts_of_rows(like.shape, self.row):
            return draws(key, self.start, like.size).reshape(like.shape)
        found, columns = np.empty(like.shape, np.uint32), slice(self.start, None)
        for at in row_blocks((len(like), self.row), PASS_ELEMENTS):
            part = draws(key, at.start * self.row, (at.stop - at.start) * self.row)
            found[at] = part.reshape(-1, self.row)[:, columns][:, : like.shape[1]]
        return found

    def normals(self, seed: int) -> np.ndarray:
        """Random numbers for the entries, fp64, standard normal; the same for all vectors."""
        like = self.deltas[0]
        return normals(f"{seed}/{self.tensor}", self.start, like.size).reshape(like.shape)


@dataclass(frozen=True)
class Place:
    """A block before it is read."""

    tensor: str
    start: int
    shape: Shape
    row: int | None = None  # length of the tensor's rows, of which a block of columns has parts

    @property
    def first_open(self) -> int:
        """Place of the first element that this block, or one that comes after it, may change."""
        return self.start if self.row is None else 0

    def parts(self, elements: int) -> Iterator["Place"]:
        """The block in pieces of about so many elements, some rows each; whole if of columns."""
        if not self.shape or self.row is not None:
            yield self
            return
        row = int(np.prod(self.shape[1:], dtype=np.int64))
        for at in row_blocks(self.shape, elements):
            shape = (at.stop - at.start, *self.shape[1:])
            yield Place(self.tensor, self.start + at.start * row, shape)
