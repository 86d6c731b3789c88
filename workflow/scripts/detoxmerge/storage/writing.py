"""Safetensors written a block at a time, by several processes if needed: complete or absent."""

import contextlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .artefacts import Checksum, publish
from .tensors import Shape, Stored

WRITE_OUT_BYTES, LET_GO_BYTES = 1 << 25, 1 << 27


class TensorWriter:
    """Puts blocks into a safetensors file; made by `write_tensors` and `write_stored`.

    Attributes:
        sha256: checksum of the whole file, known after `finish`; empty without a hasher.
    """

    def __init__(
        self,
        file: BinaryIO,
        tensors: Mapping[str, Stored],
        metadata: Mapping[str, str],
        hasher: Executor | None,
    ) -> None:
        """Write the header.

        Args:
            file: open for reading and writing, empty.
            tensors: name -> header entry; they are stored in this order.
            metadata: texts for the header.
            hasher: one thread that takes the checksum while others write; None: no checksum.
        """
        self._file, self._hasher, self._checksum, self.sha256 = file, hasher, Checksum(file), ""
        self._appended = self._written = self._flushed = 0
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
        text += b" " * (-len(text) % 8)  # the format requires data aligned to 8 bytes
        head = struct.pack("<Q", len(text)) + text
        self._data, self._end = len(head), len(head) + end
        self.write(np.frombuffer(head, np.uint8))

    def write(self, block: np.ndarray) -> None:
        """Append the next elements, row-major; not to be mixed with `write_at`.

        Args:
            block: in the dtype of the header, or its bytes.
        """
        self._put(block, self._appended)
        self._appended += block.nbytes
        self._written += block.nbytes
        self._write_out(self._appended)

    def write_at(self, tensor: str, start: int, block: np.ndarray) -> None:
        """Put elements of a tensor at their place; any thread or forked process may call it.

        Args:
            start: index of the first element in the tensor.
        """
        self._put(block, self._data + self._at[tensor] + start * block.itemsize)

    def count(self, tensor: str, elements: int, complete_to: int = 0) -> None:
        """Take note of elements that `write_at` has written.

        Args:
            complete_to: index of an element. All before it, in this tensor and in those stored
                before it, is final, and may go to the disk and into the checksum.
        """
        self._written += elements * self._itemsize[tensor]
        if complete_to:
            self._write_out(self._data + self._at[tensor] + complete_to * self._itemsize[tensor])

    def finish(self) -> None:
        """Check that all elements are there, and take the checksum."""
        if self._written != self._end:
            raise ValueError(f"wrote {self._written} of {self._end} bytes")
        if self._hasher:
            self._hasher.submit(self._take, self._end).result()
            self.sha256 = self._checksum.hexdigest()

    def _put(self, block: np.ndarray, offset: int) -> None:
        left = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
        while left:
            count = os.pwrite(self._file.fileno(), left, offset)
            left, offset = left[count:], offset + count

    def _write_out(self, end: int) -> None:
        """Start writing to the disk now, so that the fsync at the end is short."""
        if end - self._flushed <= WRITE_OUT_BYTES:
            return
        self._flushed = end
        if self._hasher:
            self._hasher.submit(self._take, end)
        else:
            self._let_go(end)

    def _take(self, end: int) -> None:
        """In the hasher's thread: take the checksum up to here, whichever process wrote it."""
        self._checksum.take_to(end)
        self._let_go(end)

    def _let_go(self, end: int) -> None:
        if hasattr(os, "posix_fadvise"):
            # once more for what was still being written the last times: it may leave the cache now
            start = max(0, end - LET_GO_BYTES)
            os.posix_fadvise(self._file.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def write_tensors(
    path: Path, shapes: Mapping[str, Shape], metadata: Mapping[str, str] | None = None
) -> Iterator[TensorWriter]:
    """Write fp32 tensors one after another, with a checksum, holding one block at a time.

    Args:
        path: the file. It appears when all tensors are written, and not if anything fails.
        shapes: name -> shape, in the order of writing.
        metadata: texts for the header.
    """
    tensors = {n: Stored("F32", s, 4 * int(np.prod(s, dtype=np.int64))) for n, s in shapes.items()}
    with (
        ThreadPoolExecutor(1) as hasher,
        write_stored(path, tensors, metadata or {}, hasher) as writer,
    ):
        yield writer


@contextlib.contextmanager
def write_stored(
    path: Path,
    tensors: Mapping[str, Stored],
    metadata: Mapping[str, str],
    hasher: Executor | None = None,
) -> Iterator[TensorWriter]:
    """As `write_tensors`, for any dtypes.

    Args:
        tensors: name -> header entry, in the order of writing.
        hasher: one thread; None: no checksum.
    """
    with publish(path) as part, open(part, "w+b") as file:
        writer = TensorWriter(file, tensors, metadata, hasher)
        yield writer
        writer.finish()
