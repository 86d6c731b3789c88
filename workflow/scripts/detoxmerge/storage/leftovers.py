"""Names of unfinished files, and the removal of those whose process was killed.

What is being written lies in `.NAME.MACHINE-PID.part` beside NAME; a folder that is being replaced
waits in `.NAME.MACHINE-PID.old`. A process that is killed leaves them there.
"""

import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

DAY = 86_400.0  # seconds without a change after which another machine's file is taken for dead


def unfinished(path: Path, end: str = "part") -> Path:
    """Where this process writes what will be `path`: in the same folder, hidden from patterns.

    Args:
        end: ``part``, or ``old`` for what makes room.
    """
    # machine and process keep two copies of a job from writing into one file
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.{end}")


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of `path`, and put back the folder that one had moved away.

    Nothing of a living process is touched. Of processes on other machines nothing is known, so
    their files stay until they have not changed for a day.
    """
    dead = [rest for rest in _unfinished_of(path) if _is_dead(rest, path)]
    for rest in dead:
        # killed between the two renames that replace a folder
        if rest.name.endswith(".old") and not path.exists():
            with contextlib.suppress(OSError):  # another job does the same
                os.replace(rest, path)
        with contextlib.suppress(OSError):  # someone else's, and a folder that we may not change
            remove(rest)


def remove(rest: Path) -> None:
    """Remove a file or folder, if it is there."""
    if rest.is_dir() and not rest.is_symlink():
        shutil.rmtree(rest, ignore_errors=True)
    else:
        rest.unlink(missing_ok=True)


def _unfinished_of(path: Path) -> Iterator[Path]:
    # what is written by others' code may have an ending of its own behind ours
    ours = re.compile(rf"\.{re.escape(path.name)}\.[\w-]+\.(part|old)(\..+)?")
    with os.scandir(path.parent) as entries:
        names = sorted(entry.name for entry in entries if ours.fullmatch(entry.name))
    return (path.with_name(name) for name in names)


def _is_dead(rest: Path, path: Path) -> bool:
    writer = rest.name.removeprefix(f".{path.name}.").partition(".")[0]
    machine, _, process = writer.rpartition("-")
    if machine == _machine() and process.isdecimal():
        # process ids come again: what has ours is not from us, as we are about to begin
        return int(process) == os.getpid() or not _lives(int(process))
    return time.time() - _last_change(rest) > DAY


def _lives(process: int) -> bool:
    """Whether a process of this machine is there and not merely waits to be forgotten."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # someone else's
        pass
    with contextlib.suppress(OSError):  # no /proc here
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    return True


def _last_change(rest: Path) -> float:
    """The newest date of a file, or of all that is in a folder; now if it vanishes meanwhile."""
    try:
        return max(part.lstat().st_mtime for part in (rest, *rest.rglob("*")))
    except OSError:
        return time.time()


@cache
def _machine() -> str:
    """The host's name and, as containers of one name may share a disk, its space of process ids."""
    host = re.sub(r"\W", "_", socket.gethostname(), flags=re.ASCII)[:40]
    with contextlib.suppress(OSError):  # no /proc here
        return f"{host}_{os.stat('/proc/self/ns/pid').st_ino}"
    return host
