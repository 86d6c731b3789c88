"""The checkpoints in a work folder: which of them are complete."""

import shutil
from pathlib import Path

COMPLETE = "complete"  # a marker written after everything else of a checkpoint


def checkpoints_in(work: Path) -> list[Path]:
    """Checkpoint folders, complete or not, oldest first.

    Args:
        work: the work folder.

    Returns:
        The folders by step.
    """
    return sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def latest_checkpoint(work: Path) -> Path | None:
    """The last complete checkpoint; incomplete ones are removed.

    Args:
        work: the work folder.

    Returns:
        A folder, or None.
    """
    complete = []
    for path in checkpoints_in(work):
        if (path / COMPLETE).is_file():
            complete.append(path)
        else:
            shutil.rmtree(path)
    return complete[-1] if complete else None
