"""One copy of a job at a time, and an end before a cluster's time limit."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError

FIRST_MARGIN = 60.0  # seconds; a quarter of a shorter budget
POLL = 5.0  # seconds between two looks at the clock while waiting


class BudgetUsed(UserError):
    """A checkpoint is written and the time is used up: the next attempt goes on from there."""


@dataclass
class Budget:
    """The time that a job has, counted from the construction.

    A signal before the time limit does not reach a script that Snakemake started inside a SLURM
    job, so training looks at the clock itself.
    """

    seconds: float | None = None  # None: no limit
    start: float = field(default_factory=time.monotonic)
    slowest: float = 0.0  # seconds of the longest unit of work so far: an interval and its save

    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def is_used(self) -> bool:
        """Whether another unit of work might not fit: margin = first margin + 2 * slowest unit."""
        if self.seconds is None:
            return False
        margin = min(FIRST_MARGIN, self.seconds / 4) + 2 * self.slowest
        return self.spent() + margin > self.seconds


@contextlib.contextmanager
def alone(folder: Path, budget: Budget) -> Iterator[bool]:
    """Hold a result's folder: of two copies of a job, the second waits until the first has ended.

    The lock is the file system's (flock), so it ends with its process, however that ends, and with
    its node. Jobs outlive the Snakemake that submitted them, and another may submit them again.

    Args:
        folder: of the declared output; it is created.
        budget: a waiting copy gives up when it is used up.

    Yields:
        Whether this copy had to wait: the other one may have made the result.

    Raises:
        BudgetUsed: the other copy still held the folder when the time was used up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    waited = False
    while not lock.is_locked:
        try:
            lock.acquire(timeout=POLL if waited else 0, poll_interval=1)
        except Timeout:
            if not waited:
                print(f"another copy of this job is working in {folder}; waiting for it to finish")
            waited = True
            if budget.is_used():
                raise BudgetUsed(
                    f"another copy of this job held {folder} until this one's time was used up; "
                    "end one of them (squeue shows them)"
                ) from None
    try:
        yield waited
    finally:
        lock.release()
