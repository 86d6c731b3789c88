"""The checkpoints in a work folder: which are complete, and which training they belong to."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from ..storage.artefacts import read_json, write_json

COMPLETE = "complete"  # a marker written after everything else of a checkpoint


def checkpoints_in(work: Path) -> list[Path]:
    """Checkpoint folders, complete or not, oldest first."""
    return sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def latest_checkpoint(work: Path) -> Path | None:
    """The last complete checkpoint, if there is one; incomplete ones are removed."""
    complete = []
    for path in checkpoints_in(work):
        if (path / COMPLETE).is_file():
            complete.append(path)
        else:
            shutil.rmtree(path)
    return complete[-1] if complete else None


def keep_checkpoints_of(made_from: list[Any], work: Path) -> None:
    """Remove the checkpoints of any other training, which would end in another model.

    Args:
        made_from: all that decides where the training ends, as JSON values.
        work: the work folder; it is created.
    """
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    file = work / "key.json"
    if file.is_file() and read_json(file) == key:
        return
    for other in checkpoints_in(work):
        print(f"{other.name} is of another training (recipe, base or texts); starting again")
        shutil.rmtree(other)
    write_json(file, key)
