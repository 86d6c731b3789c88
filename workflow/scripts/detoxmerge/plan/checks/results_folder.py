"""Where results may lie: nowhere that a workflow, the system or somebody else keeps files.

Snakemake removes an output before its job runs, and `summarise` has `config.yaml` among its
outputs: in a folder of the project, or in one full of other files, that would be somebody's own.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..paths import Paths

LIBRARY = Path(__file__).resolve().parents[2]
PROJECT = LIBRARY.parents[2]  # whose workflow this is
# folders of a project that runs a workflow, and of this one
OF_ANY = ("config", "workflow", "profiles", ".git", ".snakemake", ".venv")
OF_THIS = (*OF_ANY, ".ci", ".github", "benchmarks", "docs", "envs", "slurm", "tests")
# folders of the system, with all that is in them, and those that only hold others' folders
SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin",
    "/sys", "/usr", "/System", "/Library",
)  # fmt: skip
SHARED_MEMORY = Path("/dev/shm")  # below a folder of the system, and made to be written to
HOLDERS = (
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/var",
    "/Users",
)
MAX_BYTES = 3000  # of 4096 that a path may have: about 1000 lie below the folder of the results
ABOVE = "is the folder of the project, or above it"
INSIDE = "is a folder of the project, or lies in one: {}"
# what a finished or a broken-off study leaves in its folder, beside what begins with a dot
GRAMMAR = (
    "data", "models", "evals", "exports", "figures", "tables", "logs", "benchmarks", "README.md",
    "summary.parquet", "degradation_reduction.csv", "config.yaml", "report.html",
)  # fmt: skip


@dataclass(frozen=True)
class Where:
    """Where a workflow runs.

    Attributes:
        here: the folder that relative paths begin at.
        projects: further folders that have a Snakefile.
        files: of the config.
    """

    here: Path
    projects: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()


def bad_results(results: str, where: Where | None) -> Iterator[str]:
    """A sentence if no study may write to this folder.

    Args:
        results: as the config has it, with the prefix of a workflow that imports this one.
        where: None: nothing is looked up on disk.
    """
    try:
        why = _by_name(results) if where is None else _by_place(results, where)
    except (OSError, RuntimeError) as error:  # no permission, links in a circle
        why = f"cannot be looked into ({error})"
    if why:
        yield f"results: '{results}' {why}; name a folder of its own, for example 'results/mine'"


def _by_name(results: str) -> str | None:
    """Why the text itself shows that a study may not write there."""
    if os.path.isabs(results):
        return _of_system([Path(os.path.normpath(results))])
    first, *rest = os.path.normpath(results).split("/")
    if first in (".", "..") and not set(rest) - {".."}:
        return ABOVE
    return INSIDE.format(first) if first in OF_ANY else None


def _by_place(results: str, where: Where) -> str | None:
    """Why a study may not write there, links followed and files looked at."""
    here = where.here.resolve()
    written = Path(os.path.normpath(here / results))
    real = (here / results).resolve()
    if len(os.fsencode(real)) > MAX_BYTES:
        return f"is a path of more than {MAX_BYTES} bytes, which leaves no room for its files"
    for part in (written, *written.parents, real, *real.parents):
        if part.is_symlink() and not part.exists():
            return f"is or passes a link to what is not there: {part}"
        if part.exists() and not part.is_dir():
            return f"is a file, or lies below one: {part}"
    for project in dict.fromkeys((here, *where.projects, PROJECT)):
        names = OF_THIS if (project / "workflow/scripts" / LIBRARY.name).is_dir() else OF_ANY
        if why := _of_project([written, real], project, names):
            return why
    return _of_system([written, real]) or _of_others(real, here, where.files)


def _of_project(places: list[Path], project: Path, names: Iterable[str]) -> str | None:
    """Why a study may not write to a place, given as it is written and with links followed."""
    for place in places:
        if any(_same(folder, place) for folder in (project, *project.parents)):
            return ABOVE
        for name in names:
            if _within(place, project / name):
                return INSIDE.format(name)
    return None


def _of_system(places: list[Path]) -> str | None:
    """Why a study may not write to a place, given as for `_of_project`."""
    for place in places:
        if str(place) in HOLDERS:
            return "is a folder of the system"
        in_memory = place != SHARED_MEMORY and SHARED_MEMORY in place.parents
        if not in_memory and any(_within(place, Path(folder)) for folder in SYSTEM):
            return "is a folder of the system, or lies in one"
    return None


def _of_others(place: Path, here: Path, files: Iterable[Path]) -> str | None:
    """Why files that lie there keep a study away; those of an earlier study do not."""
    config = place / "config.yaml"
    if any(_same(here / file, config) for file in files):
        return "has the config.yaml of this run, which the study would write over"
    if not place.is_dir() or _has_study(place):
        return None
    if config.exists():
        return "has a config.yaml of something else, which the study would write over"
    if here in place.parents:  # a folder of the user's own project may hold other things, too
        return None
    names = sorted(file.name for file in place.iterdir())
    other = [name for name in names if name not in GRAMMAR and not name.startswith(".")]
    return f"has files of something else ({other[0]}), and no study" if other else None


def _has_study(place: Path) -> bool:
    """Whether a study has written there: it has prepared something, or is finished."""
    p = Paths("")
    first = (p.pretrained, p.base, p.dataset, p.prompts, p.corpus, p.scorer)
    marks = [p.summary, *first, *(p.log(path) for path in first)]
    patterns = (re.sub(r"\{\w+\}", "*", mark).lstrip("/") for mark in marks)
    return any(next(place.glob(pattern), None) is not None for pattern in patterns)


def _within(place: Path, folder: Path) -> bool:
    return any(_same(part, folder) for part in (place, *place.parents))


def _same(first: Path, second: Path) -> bool:
    """Whether two paths are one folder, also by links and where letters' case does not matter."""
    if first == second:
        return True
    try:
        return first.samefile(second)
    except OSError:  # one of them is not there
        return False
