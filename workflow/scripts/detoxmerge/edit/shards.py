"""N task vectors side by side, a block at a time; unlike layouts, NaN and infinity stop it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..plan.errors import UserError
from .randomness import normals, uniforms
from .scaling import excluded_tensors
from .tensors import Shape, open_tensors, require_same_layout, row_blocks

# of an operator's passes before it merges: the last bit of an fp64 sum depends on how it is cut,
# so this is fixed, whatever the blocks of the merge
PASS_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Block:
    """What is read at a time: some rows of a tensor, of every shard."""

    tensor: str
    start: int  # place of the first element in the tensor, row-major
    deltas: list[np.ndarray]  # N of one shape, fp32, in the order of the files

    def uniforms(self, seed: int, shard: int) -> np.ndarray:
        """Random numbers for the entries of one shard, fp64, uniform in (0, 1)."""
        like = self.deltas[shard]
        return uniforms(f"{seed}/{shard}/{self.tensor}", self.start, like.size).reshape(like.shape)

    def normals(self, seed: int) -> np.ndarray:
        """Random numbers for the entries, fp64, standard normal; the same for all shards."""
        like = self.deltas[0]
        return normals(f"{seed}/{self.tensor}", self.start, like.size).reshape(like.shape)


@dataclass(frozen=True)
class Shards:
    """What is merged; made by `side_by_side`."""

    paths: list[Path]  # sorted
    order: list[int]  # where each of these stood in what the caller gave
    shapes: dict[str, Shape]  # of the tensors that are merged, sorted by name
    excluded: dict[str, Shape]  # of those that are not
    num_texts: list[int | None] | None  # in the caller's order

    def num_elements(self, *tensors: str) -> int:
        """Elements of some tensors of one shard; without names, of all that are merged."""
        return sum(int(np.prod(self.shapes[t], dtype=np.int64)) for t in tensors or self.shapes)

    def blocks(self, *tensors: str) -> Iterator[Block]:
        """One pass over some tensors, or all that are merged, in blocks of a fixed size."""
        shapes = {tensor: self.shapes[tensor] for tensor in tensors or self.shapes}
        return (block for block, _ in read_blocks(self.paths, shapes, PASS_ELEMENTS))

    def deltas(self, *tensors: str) -> Iterator[list[np.ndarray]]:
        """The same, as bare arrays."""
        return (block.deltas for block in self.blocks(*tensors))


def side_by_side(
    paths: list[Path],
    exclude: Iterable[str] = (),
    num_texts: list[int | None] | None = None,
) -> Shards:
    """Task vectors in the order of their paths.

    Args:
        paths: N files with the same tensors, fp32, in any order.
        exclude: parts of names of tensors to leave out (`scaling.excluded_tensors`).
        num_texts: what each was trained on, in the order of `paths`, where it is known.

    Returns:
        The shards; nothing of their values is read.

    Raises:
        UserError: as `common_shapes` and `excluded_tensors`.
    """
    order = sorted(range(len(paths)), key=paths.__getitem__)
    paths = [paths[i] for i in order]
    shapes = common_shapes(paths)
    excluded = {name: shapes.pop(name) for name in excluded_tensors(shapes, exclude)}
    return Shards(paths, order, shapes, excluded, num_texts)


def common_shapes(paths: list[Path]) -> dict[str, Shape]:
    """Names and shapes of the tensors of several task vectors.

    Args:
        paths: at least one file.

    Returns:
        name -> shape, sorted by name.

    Raises:
        UserError: tensors differ in name, dtype or shape, or are not fp32.
    """
    common = require_same_layout(paths)
    for name, (dtype, _) in common.items():
        if dtype != "F32":
            raise UserError(f"{paths[0]}: tensor '{name}' is {dtype}; task vectors are kept in F32")
    return {name: shape for name, (_, shape) in common.items()}


def walk(
    paths: list[Path], shapes: dict[str, Shape], block_elements: int
) -> Iterator[tuple[str, list[np.ndarray], list[float]]]:
    """Task vectors side by side, once through all tensors.

    Args:
        paths: files with these tensors, fp32.
        shapes: of `common_shapes`; the order of the walk.
        block_elements: of one file that are in memory at a time, about.

    Yields:
        A tensor's name; a block of some of its rows from each file, fp32; the sum of squares of
        each block, fp64.

    Raises:
        UserError: a block holds NaN or infinity.
    """
    for block, squares in read_blocks(paths, shapes, block_elements):
        yield block.tensor, block.deltas, squares


def read_blocks(
    paths: list[Path],
    shapes: dict[str, Shape],
    block_elements: int,
    whole: Callable[[str, Shape], bool] = lambda tensor, shape: False,
) -> Iterator[tuple[Block, list[float]]]:
    """As `walk`.

    Args:
        paths: as there.
        shapes: as there.
        block_elements: as there.
        whole: says of a tensor whether it must come in one block.

    Yields:
        A block, and the sum of squares of each shard's part.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(open_tensors(path)) for path in paths]
        for name, shape in shapes.items():
            start = 0
            in_one = not shape or whole(name, shape)
            for at in [...] if in_one else row_blocks(shape, block_elements):
                deltas = [_read(file, name, at) for file in files]
                squares = [_square(d, path, name) for d, path in zip(deltas, paths, strict=True)]
                yield Block(name, start, deltas), squares
                start += deltas[0].size


def _read(file: Any, name: str, at: Any) -> np.ndarray:
    return file.get_tensor(name) if at is ... else file.get_slice(name)[at]


def _square(block: np.ndarray, path: Path, name: str) -> float:
    """Sum of squares, fp64; NaN or infinity stops the merge and names the shard."""
    total = float(np.square(block, dtype=np.float64).sum())
    if not np.isfinite(total):
        bad = int((~np.isfinite(block)).sum())
        raise UserError(
            f"{path}: tensor '{name}' holds {bad} values that are NaN or infinite; delete the "
            "shard's folder and train it again, with a lower learning rate if it diverged"
        )
    return total
