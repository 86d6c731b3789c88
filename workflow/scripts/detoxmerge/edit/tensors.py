"""Safetensors, streamed: read a slice at a time, written a block at a time, all or nothing."""

import contextlib
import hashlib
import json
import math
import os
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from ..artefacts import publish, sha256
from ..plan.errors import UserError

Shape = tuple[int, ...]
WRITE_OUT_BYTES = 1 << 25


def open_tensors(path: Path) -> Any:
    """Open a safetensors file for reading by numpy.

    Args:
        path: the file.

    Returns:
        safetensors' handle, to be used in a `with`.

    Raises:
        UserError: the file is missing, is no safetensors file, or is truncated.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is missing; make or fetch it again")
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise UserError(
            f"{path} is truncated or no safetensors file ({error}); fetch or make it again"
        ) from None


def layout(path: Path) -> dict[str, tuple[str, Shape]]:
    """Names, dtypes and shapes of a safetensors file.

    Args:
        path: the file.

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
        b: the other.
        of_a: what a belongs to, for the message.
        of_b: what b belongs to.
    """
    for name in sorted({*a, *b}):
        if a.get(name) == b.get(name):
            continue
        said = [
            f"{x[name][0]} {list(x[name][1])} in {of}" if name in x else f"missing in {of}"
            for x, of in ((a, of_a), (b, of_b))
        ]
        raise UserError(
            f"these do not belong to the same model: tensor '{name}' is {said[0]} and {said[1]}; "
            "make both from one base model"
        )


def layer_of(tensor: str) -> int | None:
    """The block of a transformer that a parameter belongs to.

    Args:
        tensor: a name as in `named_parameters`, for example ``transformer.h.3.ln_1.weight``.

    Returns:
        The first part of the name that is a number; None outside of the blocks.
    """
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", tensor)
    return int(found[1]) if found else None


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


def parts_of_rows(shape: Shape, row: int | None) -> bool:
    """Whether a block of columns has less than the whole rows of its tensor.

    Args:
        shape: of the block.
        row: length of the tensor's rows; None of a block of rows.
    """
    return row is not None and row != math.prod(shape[1:])


@dataclass(frozen=True)
class Stored:
    """How a tensor stands in a file's header."""

    dtype: str  # as the format calls it, e.g. ``F32``
    shape: Shape
    num_bytes: int


class TensorWriter:
    """Puts blocks into a safetensors file; made by `write_tensors` and `write_stored`.

    Attributes:
        sha256: checksum of the whole file, known at the end, if it is wanted.
    """

    def __init__(
        self,
        file: BinaryIO,
        tensors: Mapping[str, Stored],
        metadata: Mapping[str, str],
        hasher: Executor | None,
    ) -> None:
        """
        Args:
            file: open for writing, empty.
            tensors: name -> header entry; they are stored, and must be written, in this order.
            metadata: texts for the header.
            hasher: of one thread, takes the checksum beside the writing; none: no checksum.
        """
        self._file, self._hasher, self._hash, self.sha256 = file, hasher, hashlib.sha256(), ""
        self._hashed: Future[None] | None = None
        self._written = self._on_its_way = self._hashed_to = self._appended = 0
        self._counting = threading.Lock()
        self._at: dict[str, int] = {}
        self._itemsize: dict[str, int] = {}
        header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
        end = 0
        for name, stored in tensors.items():
            start, end = end, end + stored.num_bytes
            header[name] = {"dtype": stored.dtype, "shape": list(stored.shape)}
            header[name]["data_offsets"] = [start, end]
            self._at[name] = start
            self._itemsize[name] = stored.num_bytes // max(1, math.prod(stored.shape))
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the format wants the data aligned to 8 bytes
        head = struct.pack("<Q", len(text)) + text
        self._data, self._end = len(head), len(head) + end
        self.write(np.frombuffer(head, np.uint8))

    def write(self, block: np.ndarray) -> None:
        """Append the next elements, row-major; not to be mixed with `write_at`.

        Args:
            block: of the dtype that the header says, or its bytes; must not change afterwards.
        """
        self._put(block, self._appended)
        self._appended += block.nbytes
        self._written += block.nbytes
        self._write_out(self._appended)

    def write_at(self, tensor: str, start: int, block: np.ndarray, row: int | None = None) -> None:
        """Put elements of a tensor at their place; if there is no checksum, threads may, too.

        Args:
            tensor: its name.
            start: place of the first element in the tensor.
            block: as in `write`.
            row: length of the tensor's rows, if the block is some of its columns.
        """
        at = self._data + self._at[tensor] + start * block.itemsize
        for i, part in enumerate(block if parts_of_rows(block.shape, row) else [block]):
            self._put(part, at + i * (row or 0) * block.itemsize)
        with self._counting:
            self._written += block.nbytes

    def write_out(self, tensor: str, start: int) -> None:
        """Start writing to the disk what lies before an element, or all is left to the end's fsync.

        Args:
            tensor: its name.
            start: place of the element in the tensor; nothing before it may be written any more.
        """
        self._write_out(self._data + self._at[tensor] + start * self._itemsize[tensor])

    def finish(self) -> None:
        """Check that all elements are there, and take the checksum."""
        if self._written != self._end:
            raise ValueError(f"wrote {self._written} of {self._end} bytes")
        if self._hashed:
            self._hashed.result()
            in_order = self._hashed_to == self._end
            self.sha256 = self._hash.hexdigest() if in_order else sha256(self._file.name)

    def _put(self, block: np.ndarray, at: int) -> None:
        left = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
        if self._hasher and at == self._hashed_to:
            if self._hashed:  # one block waits at most
                self._hashed.result()
            self._hashed = self._hasher.submit(self._hash.update, left)
            self._hashed_to += len(left)
        while left:
            count = os.pwrite(self._file.fileno(), left, at)
            left, at = left[count:], at + count

    def _write_out(self, end: int) -> None:
        if end - self._on_its_way > WRITE_OUT_BYTES and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), 0, end, os.POSIX_FADV_DONTNEED)
            self._on_its_way = end


@contextlib.contextmanager
def write_tensors(path: Path, shapes: Mapping[str, Shape]) -> Iterator[TensorWriter]:
    """Write fp32 tensors one after another, without holding more than a block.

    Args:
        path: the file. It appears when all tensors are there, and not if anything fails.
        shapes: name -> shape, in the order of writing.

    Yields:
        The writer, which takes a checksum.
    """
    tensors = {n: Stored("F32", s, 4 * int(np.prod(s, dtype=np.int64))) for n, s in shapes.items()}
    with ThreadPoolExecutor(1) as hasher, write_stored(path, tensors, {}, hasher) as writer:
        yield writer


@contextlib.contextmanager
def write_stored(
    path: Path,
    tensors: Mapping[str, Stored],
    metadata: Mapping[str, str],
    hasher: Executor | None = None,
) -> Iterator[TensorWriter]:
    """As `write_tensors`, of any dtypes.

    Args:
        path: as there.
        tensors: name -> header entry, in the order of writing.
        metadata: texts for the header.
        hasher: of one thread; none: no checksum is taken.

    Yields:
        The writer.
    """
    with publish(path) as part, open(part, "wb") as file:
        writer = TensorWriter(file, tensors, metadata, hasher)
        yield writer
        writer.finish()
