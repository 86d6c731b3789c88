"""What is read and merged at a time: some rows of a tensor of every vector."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..storage.tensors import Shape, row_blocks
from .randomness import draws, normals

# of an operator's passes before it merges: the last bit of an fp64 sum depends on how it is cut,
# so this is fixed, whatever the blocks of the merge
PASS_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Block:
    """Some elements of a tensor, of every vector."""

    tensor: str
    start: int  # place of the first element in the tensor, row-major
    deltas: list[np.ndarray]  # N of one shape, fp32, in sorted order; an operator may change them
    squares: list[float]  # sum of squares of each of these
    base: np.ndarray | None = None  # the base's elements, (count,), where there is a base

    def draws(self, seed: int, vector: int) -> np.ndarray:
        """Random numbers for the entries of one vector, uint32, uniform in 0 .. 2**32 - 1."""
        like, key = self.deltas[vector], f"{seed}/{vector}/{self.tensor}"
        return draws(key, self.start, like.size).reshape(like.shape)

    def normals(self, seed: int) -> np.ndarray:
        """Random numbers for the entries, fp64, standard normal; the same for all vectors."""
        like = self.deltas[0]
        return normals(f"{seed}/{self.tensor}", self.start, like.size).reshape(like.shape)


@dataclass(frozen=True)
class Place:
    """Where a block lies, before it is read."""

    tensor: str
    start: int
    shape: Shape

    def parts(self, elements: int) -> Iterator["Place"]:
        """The same in pieces of about so many elements, some rows each."""
        if not self.shape:
            yield self
            return
        row = int(np.prod(self.shape[1:], dtype=np.int64))
        for rows in row_blocks(self.shape, elements):
            shape = (rows.stop - rows.start, *self.shape[1:])
            yield Place(self.tensor, self.start + rows.start * row, shape)
