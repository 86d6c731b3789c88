"""What safetensors files hold: names, dtypes, shapes; and the blocks that tensors are cut into."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ..errors import UserError

Shape = tuple[int, ...]


def open_tensors(path: Path) -> Any:
    """Open a safetensors file for reading by numpy.

    Returns:
        safetensors' handle, to be used in a `with` statement.

    Raises:
        UserError: the file is missing, unreadable, truncated or not safetensors.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is missing; make or fetch it again")
    try:
        with open(path, "rb"):  # safetensors reports every failure as a missing file
            return safe_open(path, framework="numpy")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend its permissions") from None
    except SafetensorError as error:
        raise UserError(
            f"{path} is truncated or no safetensors file ({error}); fetch or make it again"
        ) from None


def layout(path: Path) -> dict[str, tuple[str, Shape]]:
    """Names, dtypes and shapes of a safetensors file.

    Returns:
        name -> (dtype as in the file, e.g. ``F32``; shape), sorted by name.
    """
    with open_tensors(path) as tensors:
        slices = {name: tensors.get_slice(name) for name in sorted(tensors.keys())}
        return {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}


def require_layout(
    a: Mapping[str, tuple[str, Shape]], b: Mapping[str, tuple[str, Shape]], of_a: str, of_b: str
) -> None:
    """Raise UserError at the first tensor (by name) that two layouts do not share.

    Args:
        a: name -> (dtype, shape).
        of_a: what `a` belongs to, for the message; `of_b` likewise.
    """
    for name in sorted({*a, *b}):
        if a.get(name) == b.get(name):
            continue
        sides = [
            f"{x[name][0]} {list(x[name][1])} in {owner}" if name in x else f"missing in {owner}"
            for x, owner in ((a, of_a), (b, of_b))
        ]
        raise UserError(
            f"these do not belong to the same model: tensor '{name}' is {sides[0]} and {sides[1]}; "
            "make both from one base model"
        )


def row_blocks(shape: Shape, block_elements: int) -> Iterator[slice]:
    """Slices of the first axis that hold at most about `block_elements` each.

    Args:
        shape: of the tensor; one axis at least.
        block_elements: elements of a block, at least one row.

    Yields:
        Slices that cover the axis once, in order.
    """
    row = max(1, int(np.prod(shape[1:], dtype=np.int64)))
    step = max(1, block_elements // row)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


@dataclass(frozen=True)
class Stored:
    """The entry of a tensor in a file's header."""

    dtype: str  # as the format calls it, e.g. ``F32``
    shape: Shape
    num_bytes: int
