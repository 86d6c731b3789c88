"""A base model and N fine-tunes of it to one edited model, file by file: no weights in memory.

    theta = theta_0 - scale * operator(theta_1 - theta_0, ..., theta_N - theta_0)

tau* is rounded to fp32, the sum is taken in fp32 and cast once to the dtype of the file: bit for
bit what the workflow's `edit.edited` makes of the same fine-tunes.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from ..errors import UserError
from ..models.folder import Rest, copy_rest, rest_of
from ..plan.weight_names import read_config, weight_names
from ..storage.artefacts import publish_folder, write_json
from ..storage.reading import FLOATS, Weights
from ..storage.tensors import Stored
from ..storage.writing import TensorWriter, write_stored
from .base import Base, open_base
from .blocks import Block
from .merging import Merge, prepare_merge, print_zero_vectors
from .parameter_names import parameters
from .side_by_side import side_by_side
from .squares import all_below
from .task_vectors import open_fine_tune

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
MANIFEST = "detoxmerge.json"
COPY_BYTES = 1 << 22
# the least magnitude that is rounded to infinity: half a step above the largest number
TOO_LARGE = {"F32": np.inf, "BF16": float.fromhex("0x1.FFp127"), "F16": 65520.0}


@dataclass(frozen=True)
class _Written:
    """Counts of a finished block."""

    moved: int  # elements that the step changes and that are cast to less than fp32
    back: int  # of these, those that the cast put back on the base's value
    square: float  # sum of squares of tau*


def merge_model(
    base: Path,
    fine_tunes: list[Path],
    out: Path,
    operator: str = "mean",
    params: BaseModel | None = None,
    *,
    scale: float,
    dtype: str | None = None,
    exclude: Iterable[str] = (),
    lines: tuple[float, float | None] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write the edited model as a Hugging Face folder, whole or not at all.

    Args:
        base: folder of the base model.
        fine_tunes: N fine-tunes of it (`task_vectors.open_fine_tune`).
        out: the folder to make.
        operator: a name in `plan.registry.OPERATORS`.
        params: has the fields of the operator's ``Params``; None for its defaults.
        scale: lambda; how far to go against the vectors.
        dtype: of the parameters in the files, a name in `DTYPES`; None for each as in the base.
        exclude: parts of names of tensors that stay as they are.
        lines: alpha and beta of `per_layer.lines_factors`; None for no factors.
        workers: processes that merge; with 1 the caller's own merges.
        progress: called with the number of elements that are done, and of all.

    Returns:
        What detoxmerge.json in the folder says: what was merged and how, the vectors' L2 norms in
        the order of `fine_tunes`, and for how many weights the step was lost in the cast.

    Raises:
        UserError: the folder exists; a fine-tune does not belong to the base; a value is NaN,
            infinite or too large for the dtype; the operator refuses the vectors.
    """
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; delete it, or name another folder with --out")
    opened_base, rest = open_base(base), rest_of(base, "base")
    excluded = opened_base.excluded(exclude)
    opened = [open_fine_tune(path, opened_base, excluded) for path in fine_tunes]
    vectors = side_by_side(opened, excluded, base=opened_base.weights, workers=workers)
    merge = prepare_merge(vectors, operator, params, lines)
    with publish_folder(out) as part:
        norms = _write_weights(merge, opened_base, scale, dtype, part, progress)
        _write_rest(base, rest, part, dtype)
        manifest = {
            "base": str(base),
            "shards": [str(path) for path in fine_tunes],
            "operator": operator,
            "params": merge.params.model_dump(),
            "scale": scale,
            "exclude": sorted(merge.vectors.excluded),
            "lines": lines,
            "facts": merge.facts,
            **rest.record(),
        }
        write_json(part / MANIFEST, manifest | norms)
    return manifest | norms


def _write_weights(
    merge: Merge,
    opened_base: Base,
    scale: float,
    dtype: str | None,
    out: Path,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Write all files of weights and their index; return the norms and what the cast cost."""
    base = opened_base.as_stored  # a tied weight that is stored twice is written twice
    stored = {name: _stored_as(base, name, dtype) for name in base.layout}
    names = {name: [name] if name in stored else [] for name in opened_base.weights.layout}
    for other, name in opened_base.twice.items():
        names[name].append(other)
    step = np.float32(-scale)
    writers: dict[str, TensorWriter] = {}

    def finish(block: Block, merged: np.ndarray, square: float) -> _Written:
        first = names[block.tensor][0]
        dtype, base_dtype = stored[first].dtype, base.stored[first].dtype
        values, moved, back = _stepped(block, step, merged, dtype, base_dtype)
        for name in names[block.tensor]:
            writers[name].write_at(name, block.start, values)
        return _Written(moved, back, square)

    squares, merged_square, moved, back = np.zeros(len(merge.vectors)), 0.0, 0, 0
    done, total = 0, merge.vectors.num_elements()
    with contextlib.ExitStack() as until_written:
        # a block may lie in any file, so all are open until the last one is written
        for file, texts in base.metadata.items():
            tensors = {name: stored[name] for name in stored if base.file_of[name] == file}
            copy = out / file.relative_to(opened_base.folder)
            writer = until_written.enter_context(write_stored(copy, tensors, texts))
            writers |= dict.fromkeys(tensors, writer)
        for name in stored.keys() - {n for tensor in merge.vectors.shapes for n in names[tensor]}:
            _copy(base, name, stored[name].dtype, writers[name])
        # closed before the files are, so that nobody writes to a file that is taken away
        blocks = until_written.enter_context(contextlib.closing(merge.blocks(finish)))
        for place, written, vector_squares in blocks:
            size = math.prod(place.shape)
            for name in names[place.tensor]:
                writers[name].count(name, size, place.start)
            squares += vector_squares
            merged_square += sum(block.square for block in written)
            moved += sum(block.moved for block in written)
            back += sum(block.back for block in written)
            progress(done := done + size, total)

    _write_index(base, opened_base.folder, stored, out)
    print_zero_vectors(merge.vectors, squares)
    # from sorted order to the caller's
    norms = np.sqrt(squares)[np.argsort(merge.vectors.order)]
    return {
        "l2_norm": float(np.sqrt(merged_square)),
        "shard_l2_norms": norms.tolist(),
        "num_moved_and_cast": moved,
        "num_rounded_back": back,
    }


def _stored_as(base: Weights, name: str, dtype: str | None) -> Stored:
    """The header entry of a tensor in the output: only parameters change their dtype."""
    entry = base.stored[name]
    if dtype is None or name not in parameters({name: base.layout[name]}):
        return entry
    to = DTYPES[dtype]
    size = np.dtype(FLOATS[to]).itemsize
    return Stored(to, entry.shape, int(np.prod(entry.shape, dtype=np.int64)) * size)


def _stepped(
    block: Block, step: np.float32, merged: np.ndarray, dtype: str, base_dtype: str
) -> tuple[np.ndarray, int, int]:
    """theta_0 + step * tau* of a block, cast, bf16 by its bits; the counts of `_Written`."""
    assert block.base is not None
    before = block.base.reshape(merged.shape)
    change = np.multiply(merged, step, out=merged)
    if dtype == "F32":  # nothing is cast
        return cast(np.add(before, change, out=change), dtype), 0, 0
    moved = np.not_equal(change, 0)
    after = cast(np.add(before, change, out=change), dtype)
    # a base in bf16 needs no rounding: its fp32 numbers have zeros in the lower half
    exact = dtype == base_dtype == "BF16"
    back = np.equal(after, _upper_halves(before.view(np.uint32)) if exact else cast(before, dtype))
    back &= moved
    return after, int(np.count_nonzero(moved)), int(np.count_nonzero(back))


def cast(values: np.ndarray, dtype: str) -> np.ndarray:
    """Finite fp32 values in the dtype of a file, rounded to nearest, ties to even.

    Args:
        values: fp32.
        dtype: a key of `reading.FLOATS`.

    Returns:
        fp32 (the same array) or fp16; bf16 by its bits, uint16.

    Raises:
        UserError: a value is too large for the dtype.
    """
    if not all_below(TOO_LARGE[dtype], values):
        raise UserError(f"an edited weight is too large for {dtype}; lower the scale")
    if dtype == "F32":
        return values
    if dtype == "F16":
        return values.astype(np.float16)
    # to the upper half of the bits: add just under half a step, or half if the result would be odd
    bits = values.view(np.uint32)
    rounding = bits >> 16
    rounding &= 1
    rounding += 0x7FFF
    rounding += bits
    return _upper_halves(rounding)


def _upper_halves(bits: np.ndarray) -> np.ndarray:
    halves = np.empty(bits.shape, np.uint16)
    return np.right_shift(bits, 16, out=halves, casting="unsafe")


def _copy(base: Weights, name: str, dtype: str, writer: TensorWriter) -> None:
    """Write a tensor that is not merged, a piece at a time."""
    size = base.stored[name].num_bytes
    if dtype == base.stored[name].dtype:
        for start in range(0, size, COPY_BYTES):
            part = np.empty(min(COPY_BYTES, size - start), np.uint8)  # bytes are its elements
            writer.write_at(name, start, base.read_bytes(name, start, part))
        writer.count(name, math.prod(base.stored[name].shape))
        return
    count = int(np.prod(base.stored[name].shape, dtype=np.int64))
    for start in range(0, count, COPY_BYTES):
        values = base.read(name, start, np.empty(min(COPY_BYTES, count - start), np.float32))
        part = cast(values, dtype)
        writer.write_at(name, start, part)
    writer.count(name, count)


def _write_index(base: Weights, folder: Path, stored: dict[str, Stored], out: Path) -> None:
    """Write the index, under the name that the base's has, if it has one."""
    index = weight_names(folder, "base").index_file
    if index is None:
        return
    total = sum(entry.num_bytes for entry in stored.values())
    names = {name: str(base.file_of[name].relative_to(folder)) for name in sorted(stored)}
    write_json(out / index, {"metadata": {"total_size": total}, "weight_map": names})


def _write_rest(base: Path, rest: Rest, out: Path, dtype: str | None) -> None:
    """Write config, tokenizer, licence and whatever else lies beside the weights."""
    copy_rest(base, rest, out)
    config = read_config(base, "base")
    if dtype is not None:
        config = {k: v for k, v in config.items() if k != "torch_dtype"} | {"dtype": dtype}
    write_json(out / "config.json", config)
