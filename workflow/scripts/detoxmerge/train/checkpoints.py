"""The checkpoints in a work folder: which are complete, and of which training they are."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from ..storage.artefacts import read_json, write_json

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


def keep_checkpoints_of(made_from: list[Any], work: Path) -> None:
    """Remove the checkpoints of another training, which lead elsewhere.

    Args:
        made_from: all that decides where the training ends, as JSON values.
        work: the work folder; it is made.
    """
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    file = work / "key.json"
    if file.is_file() and read_json(file) == key:
        return
    for other in checkpoints_in(work):
        print(f"{other.name} is of another training (recipe, base or texts); starting anew")
        shutil.rmtree(other)
    write_json(file, key)
