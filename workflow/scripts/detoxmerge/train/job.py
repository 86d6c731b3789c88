"""Where a training or an edit goes, and what the machine and the config say of its making."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .budget import Budget, alone


@dataclass(frozen=True)
class Job:
    """Passed along to whatever makes a result.

    Attributes:
        manifest: written last; tensors and tables go beside it.
        seed: of the training; 0 for a method that does not use it.
        device: ``auto``, ``cpu`` or ``cuda``.
        recipe: protocol of the fine-tuning recipe; None where nothing is fine-tuned by one.
        checkpoint_minutes: time between two checkpoints of a training.
        budget: the time that the job has; None: no limit.
    """

    manifest: Path
    seed: int = 0
    device: str = "cpu"
    recipe: Mapping[str, Any] | None = None
    checkpoint_minutes: float = 5.0
    budget: Budget | None = None

    def required_recipe(self) -> Mapping[str, Any]:
        """The recipe, for what is fine-tuned by one."""
        if self.recipe is None:
            raise ValueError(f"{self.manifest} is fine-tuned, and no recipe is given")
        return self.recipe

    @property
    def out(self) -> Path:
        """Folder of the result."""
        return self.manifest.parent

    @property
    def work(self) -> Path:
        """Folder for checkpoints.

        Whoever writes the manifest removes it afterwards, so that a job that is killed in between
        need not train again.
        """
        return self.out / "work"


def once(job: Job, seconds: float | None, make: Callable[..., None]) -> None:
    """Make a result, unless another copy of the job makes it while this one waits.

    Args:
        job: without a budget.
        seconds: that the job has; None: no limit.
        make: is called with `job`, which has its budget then, and writes the manifest last.

    Raises:
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    budget = Budget(seconds)
    with alone(job.out, budget) as waited:
        if waited and job.manifest.is_file():
            print("the other copy has made the result")
        else:
            make(job=replace(job, budget=budget))
