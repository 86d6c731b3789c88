"""The base model itself: the null edit."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from ...models.sampling_request import PLAIN, Sampling

FILES = ()  # beside `edit.json`


class Verb:
    """Changes nothing."""

    def __init__(self, edit: Path, model: PreTrainedModel, device: str, dtype: torch.dtype) -> None:
        """The base's manifest stands for `edit.json`."""

    def apply(self, scale: float) -> None:
        """Only refuses a scale other than 0."""
        if scale != 0:
            raise ValueError("the base model has scale 0 only")

    def sampling(self, scale: float) -> Sampling:
        """Plain sampling."""
        return PLAIN

    def forwards(self, scale: float) -> float:
        """One forward pass per token."""
        return 1.0

    def extra_bytes(self) -> int:
        """0: nothing is held beside the base."""
        return 0
