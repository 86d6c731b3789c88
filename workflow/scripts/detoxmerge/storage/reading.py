"""Parts of tensors from safetensors files, read into fp32 arrays that the caller provides.

The library's reader does not give numpy bf16, and makes a new array at each call, which costs more
than the computation in it. So the header is also read here, after the library checked the file.
"""

import copy
import json
import math
import os
import struct
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from .tensors import Shape, Stored, layout

FLOATS = {"F32": np.float32, "BF16": np.uint16, "F16": np.float16}  # bf16 by its bits


class Weights:
    """The tensors of one or several safetensors files; threads and forked processes may read.

    Attributes:
        layout: name -> (dtype as in the file, shape), in the order in which they are stored.
        stored: name -> the same, as a header entry.
        file_of: name -> path of its file.
        metadata: path -> the texts in a file's header.
    """

    def __init__(self, files: list[Path]) -> None:
        """Open the files.

        Args:
            files: of one model; they stay open as long as this object lives.

        Raises:
            UserError: a file is missing, truncated or not safetensors, or two have one tensor.
        """
        self.layout: dict[str, tuple[str, Shape]] = {}
        self.file_of: dict[str, Path] = {}
        self.metadata: dict[Path, dict[str, str]] = {}
        self.stored: dict[str, Stored] = {}
        self._at: dict[str, tuple[int, int]] = {}
        self._open: list[int] = []
        self._whole: Weights | None = None
        weakref.finalize(self, _close, self._open)
        for file in files:
            self._add(file, layout(file))

    def _add(self, file: Path, checked: Mapping[str, tuple[str, Shape]]) -> None:
        descriptor = os.open(file, os.O_RDONLY)
        self._open.append(descriptor)
        if hasattr(os, "posix_fadvise"):  # the system then reads further ahead
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        (length,) = struct.unpack("<Q", os.pread(descriptor, 8, 0))
        header = json.loads(os.pread(descriptor, length, 8))
        self.metadata[file] = header.pop("__metadata__", {})
        for name in sorted(header, key=lambda name: header[name]["data_offsets"]):
            if name in self.layout:
                raise UserError(f"tensor '{name}' is in {self.file_of[name]} and in {file}")
            self.layout[name], self.file_of[name] = checked[name], file
            start, end = header[name]["data_offsets"]
            self.stored[name] = Stored(*checked[name], end - start)
            self._at[name] = (descriptor, 8 + length + start)

    def renamed(self, names: Mapping[str, str]) -> "Weights":
        """Some of the tensors under other names.

        Args:
            names: new name -> present name, in the order of the result.

        Returns:
            A view of the same open files.
        """
        view = copy.copy(self)
        view._whole = self  # or its files would be closed
        for key in ("layout", "file_of", "stored", "_at"):
            present = getattr(self, key)
            setattr(view, key, {new: present[old] for new, old in names.items()})
        return view

    def offset(self, name: str, start: int) -> int:
        """Where an element of a tensor lies: bytes from the start of its file.

        Args:
            start: index of the element, row-major.
        """
        stored = self.stored[name]
        itemsize = stored.num_bytes // max(1, math.prod(stored.shape))
        return self._at[name][1] + start * itemsize

    def read(self, name: str, start: int, out: np.ndarray) -> np.ndarray:
        """Some elements of a tensor of floats, exactly as they are stored.

        Args:
            name: of the tensor; fp32, bf16 or fp16.
            start: index of the first element, row-major.
            out: (count,), fp32; it is filled and returned.
        """
        kind = FLOATS[self.layout[name][0]]
        if kind is np.float32:
            self.read_bytes(name, start * 4, out)
            return out
        halves = self.read_bytes(name, start * 2, np.empty(out.shape, kind))
        if kind is np.float16:
            out[:] = halves
        else:  # the upper half of an fp32 number's bits
            bits = out.view(np.uint32)
            bits[:] = halves  # widened apart from the shift, which is faster in place
            np.left_shift(bits, 16, out=bits)
        return out

    def read_bytes(self, name: str, start: int, out: np.ndarray) -> np.ndarray:
        """Bytes of a tensor of any dtype.

        Args:
            start: index of the first byte in the tensor.
            out: contiguous; it is filled and returned.

        Raises:
            UserError: the file has become shorter since it was opened.
        """
        descriptor, begin = self._at[name]
        if (
            os.preadv(descriptor, [out.data], begin + start) < out.nbytes
        ):  # rare: it reads 2 GB at most
            left = out.reshape(-1).view(np.uint8).data
            while left:
                count = os.preadv(descriptor, [left], begin + start)
                if not count:
                    raise UserError(f"{self.file_of[name]} became shorter while it was read")
                left, start = left[count:], start + count
        return out


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
