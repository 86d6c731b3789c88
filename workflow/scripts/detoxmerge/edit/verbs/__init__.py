"""What an edit does to the base model: one file per verb, found by file name.

A module has `FILES`, the names of the tensor files beside `edit.json`, and a class `Verb`:

    Verb(edit, model, device, dtype)    edit: path of `edit.json`; model: the base in fp32 on the
                                        CPU, before it is cast and moved
    apply(scale)                        leaves that model edited, after it was cast and moved; at 0
                                        it is the base, bit for bit
    sampling(scale) -> Sampling         what the edit asks of sampling
    forwards(scale) -> float            forward passes per token, the base's own included
    extra_bytes() -> int                of the tensors that generation needs beside the base's:
                                        `tensor_bytes` of helper models, scorers, vectors
"""

from collections.abc import Iterable
from typing import Any


def tensor_bytes(tensors: Iterable[Any]) -> int:
    """How much memory tensors take.

    Args:
        tensors: of torch, any dtype, on any device; those that share memory count once, as one
            that two names of a model stand for does.

    Returns:
        Bytes.
    """
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
