"""What a method needs beside its inputs and parameters to build an edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .budget import Budget


@dataclass(frozen=True)
class Job:
    """Where an edit goes, and what the machine and the config say of its making.

    Attributes:
        out: folder of the edit; it exists, and tensors are written into it.
        seed: of the training; 0 for a method that does not use it.
        device: ``auto``, ``cpu`` or ``cuda``.
        recipe: the protocol of the fine-tuning recipe that the parameters name; none: no recipe.
        checkpoint_minutes: time between two checkpoints of a training.
        budget: the time that the job has; none: no limit.
    """

    out: Path
    seed: int = 0
    device: str = "cpu"
    recipe: Mapping[str, Any] | None = None
    checkpoint_minutes: float = 5.0
    budget: Budget | None = None

    @property
    def work(self) -> Path:
        """Folder for checkpoints; it is removed when the edit's manifest is there."""
        return self.out / "work"
