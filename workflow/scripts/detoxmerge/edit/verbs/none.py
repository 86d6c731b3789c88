"""The base model itself: the null edit."""

from pathlib import Path
from typing import Any

import torch

from ...models.sampling_request import PLAIN, Sampling

FILES = ()  # beside `edit.json`


class Verb:
    """Changes nothing."""

    def __init__(self, edit: Path, model: Any, device: str, dtype: torch.dtype) -> None:
        """
        Args:
            edit: the base's manifest.
            model: the base.
            device: ``cpu`` or ``cuda``.
            dtype: of the weights.
        """

    def apply(self, scale: float) -> None:
        """
        Args:
            scale: 0.

        Raises:
            ValueError: the base model has no other scale.
        """
        if scale != 0:
            raise ValueError("the base model has scale 0 only")

    def sampling(self, scale: float) -> Sampling:
        """Plain sampling."""
        return PLAIN

    def forwards(self, scale: float) -> float:
        """One forward pass per token."""
        return 1.0

    def extra_bytes(self) -> int:
        """Nothing is held beside the base."""
        return 0
