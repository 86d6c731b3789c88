"""From N task vectors to one: streamed, fp64, the same bytes whatever the order of the shards."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from ..plan.errors import UserError
from ..plan.operators import OPERATORS
from .scaling import lines_factors
from .shards import Block, read_blocks, side_by_side
from .tensors import Shape, TensorWriter, write_tensors

BLOCK_ELEMENTS = 1 << 20  # of one shard: 4 MB in fp32, 8 MB in the fp64 sum

Merge = Callable[[Block], np.ndarray]


def merge_deltas(
    paths: list[Path],
    operator: str,
    out: Path,
    params: BaseModel | None = None,
    *,
    num_texts: list[int | None] | None = None,
    exclude: Iterable[str] = (),
    lines: tuple[float, float | None] | None = None,
) -> dict[str, Any]:
    """Merge task vectors into one file.

    Shards are taken in the order of their paths, sums are fp64 and rounded once to fp32: the bytes
    depend neither on the order of `paths` nor on the number of threads. In memory are one block of
    each shard and a few fp64 blocks; for `della` the tensors that it takes whole.

    Args:
        paths: N files with the same tensors, fp32.
        operator: a name in `plan.operators.OPERATORS`.
        out: the merged vector, fp32.
        params: has the fields of the operator's ``Params``; none: its defaults.
        num_texts: of each shard, in the order of `paths`, where it is known.
        exclude: parts of names of tensors that no operator sees; the merged vector has 0 there.
        lines: alpha and beta of `scaling.lines_factors`; none: no factors.

    Returns:
        `file`, `sha256` and `l2_norm` of the merged vector, `shard_l2_norms` in sorted order, over
        the tensors that are merged. Only where there are any: `excluded`, names of tensors, and
        `operator`, what it found out about the shards.

    Raises:
        UserError: tensors differ in name, dtype or shape, are not fp32, or hold NaN or infinity;
            the operator refuses N shards; the merged vector is too large for fp32.
    """
    module = OPERATORS[operator]
    params = module.Params() if params is None else params
    try:
        getattr(module, "check", lambda params, n: None)(params, len(paths))
    except ValueError as error:
        raise UserError(str(error)) from None
    shards = side_by_side(paths, exclude, num_texts)
    factors = lines_factors([*shards.shapes, *shards.excluded], *lines) if lines else {}
    context, facts = None, {}
    if hasattr(module, "prepare"):
        context, facts = module.prepare(shards, params)

    def merged(block: Block) -> np.ndarray:
        found = module.merge(block, params, context)
        return found * factors[block.tensor] if factors else found

    def whole(tensor: str, shape: Shape) -> bool:
        return hasattr(module, "whole") and module.whole(tensor, shape, params)

    squares, merged_square = np.zeros(len(paths)), 0.0
    with write_tensors(out, shards.shapes | shards.excluded) as writer:
        for block, of_shards in read_blocks(shards.paths, shards.shapes, BLOCK_ELEMENTS, whole):
            squares += of_shards
            merged_square += _write(writer, block.tensor, merged(block))
        _write_zeros(writer, shards.excluded.values())
    for path in np.array(shards.paths)[squares == 0]:
        print(f"{path}: all values are 0; it is merged as it is")
    found = {"file": out.name, "sha256": writer.sha256, "l2_norm": float(np.sqrt(merged_square))}
    found |= {"shard_l2_norms": np.sqrt(squares).tolist()}
    found |= {"excluded": list(shards.excluded)} if shards.excluded else {}
    return found | ({"operator": facts} if facts else {})


def _write(writer: TensorWriter, tensor: str, merged: np.ndarray) -> float:
    """Round a block to fp32 and append it; its sum of squares."""
    with np.errstate(over="ignore"):
        rounded = merged.astype(np.float32)
    square = float(np.square(rounded, dtype=np.float64).sum())
    if not np.isfinite(square):
        raise UserError(f"tensor '{tensor}': the merged values are too large for fp32")
    writer.write(rounded)
    return square


def _write_zeros(writer: TensorWriter, shapes: Iterable[Shape]) -> None:
    left = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)
    while left:
        part = min(left, BLOCK_ELEMENTS)
        writer.write(np.zeros(part, np.float32))
        left -= part
