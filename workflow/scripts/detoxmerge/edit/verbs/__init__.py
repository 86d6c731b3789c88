"""What an edit does to the base model: one file per verb, found by file name.

A module has `FILES`, the names of the tensor files beside `edit.json`, and a class `Verb`:

    Verb(edit, model, device, dtype)    edit: path of `edit.json`; model: the base in fp32 on the
                                        CPU; it will be cast to `dtype` and moved to `device`
                                        (``cpu`` or ``cuda``). Raises UserError if the tensors
                                        belong to another model, or are missing or broken
    apply(scale)                        edits that model in place, once it is cast and moved; at 0
                                        it is the base, bit for bit. Raises ValueError for a scale
                                        that the verb does not have
    sampling(scale) -> Sampling         what the edit asks of sampling
    forwards(scale) -> float            forward passes per token, including the base's own
    extra_bytes() -> int                of the tensors that generation needs beside the base's:
                                        `tensor_bytes` of helper models, scorers, vectors
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def tensor_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """How much memory tensors take; those that share it, like tied weights, count once."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
