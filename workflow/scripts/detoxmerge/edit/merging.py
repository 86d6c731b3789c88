"""From N task vectors to one: streamed, fp64, the same bytes whatever the order of the shards."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ..plan.errors import UserError
from .tensors import Shape, open_tensors, require_same_layout, row_blocks, write_tensors

BLOCK_ELEMENTS = 1 << 20  # of one shard: 4 MB in fp32, 8 MB in the fp64 sum


def mean(blocks: list[np.ndarray]) -> np.ndarray:
    """The mean of the shards, entry by entry: (1/N) sum_i tau_i (Kim et al., COLM 2024).

    Args:
        blocks: N arrays of one shape, fp32, in sorted shard order.

    Returns:
        fp64, the shape of one block.
    """
    total = blocks[0].astype(np.float64)
    for block in blocks[1:]:
        total += block  # numpy widens a buffer at a time, so no second fp64 copy arises
    return total / len(blocks)


OPERATORS: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {"mean": mean}


def merge_deltas(paths: list[Path], operator: str, out: Path) -> dict[str, Any]:
    """Merge task vectors into one file.

    Shards are taken in the order of their paths, sums are fp64 and rounded once to fp32: the bytes
    depend neither on the order of `paths` nor on the number of threads. In memory are one block of
    each shard and one fp64 block.

    Args:
        paths: N files with the same tensors, fp32.
        operator: a name in `OPERATORS`.
        out: the merged vector, fp32.

    Returns:
        `file`, `sha256` and `l2_norm` of the merged vector, `shard_l2_norms` in sorted order.

    Raises:
        UserError: tensors differ in name, dtype or shape, are not fp32, or hold NaN or infinity.
    """
    paths = sorted(paths)
    shapes = common_shapes(paths)
    squares, merged_square = np.zeros(len(paths)), 0.0
    with write_tensors(out, shapes) as writer:
        for _, blocks, squares_of_blocks in walk(paths, shapes, BLOCK_ELEMENTS):
            squares += squares_of_blocks
            merged = OPERATORS[operator](blocks).astype(np.float32)
            merged_square += float(np.square(merged, dtype=np.float64).sum())
            writer.write(merged)
    return {
        "file": out.name,
        "sha256": writer.sha256,
        "l2_norm": float(np.sqrt(merged_square)),
        "shard_l2_norms": np.sqrt(squares).tolist(),
    }


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
    with ExitStack() as stack:
        files = [stack.enter_context(open_tensors(path)) for path in paths]
        for name, shape in shapes.items():
            for at in row_blocks(shape, block_elements) if shape else [...]:
                blocks = [_block(file, name, shape, at) for file in files]
                squares = [_square(b, path, name) for b, path in zip(blocks, paths, strict=True)]
                yield name, blocks, squares


def _block(shard: Any, name: str, shape: tuple[int, ...], at: Any) -> np.ndarray:
    return shard.get_slice(name)[at] if shape else shard.get_tensor(name)


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
