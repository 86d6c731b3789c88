"""What killed processes leave: removed or put back by the next one, and nothing of a living one."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from detoxmerge.storage import leftovers
from detoxmerge.storage.artefacts import publish, publish_folder, write_text
from detoxmerge.storage.leftovers import DAY, unfinished

LIBRARY = Path(__file__).parents[2] / "workflow/scripts"
FILE = """
with publish(path) as part:
    part.write_text("half")
    wait()
"""
FOLDER = """
with publish_folder(path) as part:
    (part / "new").write_text("half")
    (part / "below").mkdir()
    (part / "below/deep").write_text("half")
    wait()
"""
# waits behind the n-th rename of a folder that takes the place of another one
RENAMING = """
rename, count = os.replace, 0
def then_wait(source, target):
    global count
    rename(source, target)
    count += 1
    if count == {n}:
        wait()
os.replace = then_wait
with publish_folder(path) as part:
    (part / "new").touch()
"""
REMOVING = """
import shutil
def half(folder, **_):
    next(folder.iterdir()).unlink()
    wait()
shutil.rmtree = half
with publish_folder(path) as part:
    (part / "new").touch()
"""
START = """
import os, sys, time
from pathlib import Path
from detoxmerge.storage.artefacts import publish, publish_folder
path = Path(sys.argv[1])
def wait():
    print("there", flush=True)
    time.sleep(600)
"""


def started(work: str, path: Path) -> subprocess.Popen[str]:
    """A process that has got as far as `wait()` in its work on a path."""
    command = [sys.executable, "-c", START + work, str(path)]
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def killed(work: str, path: Path) -> None:
    """As `started`, then killed."""
    with started(work, path) as process:
        process.send_signal(signal.SIGKILL)


@pytest.fixture
def living(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is writing `x`."""
    with started(FILE, tmp_path / "x") as process:
        yield process
        process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def folder_with(path: Path, *files: str) -> Path:
    path.mkdir()
    for name in files:
        (path / name).touch()
    return path


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_the_next_attempt_removes_the_file_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "x[1]*"  # no pattern
    killed(FILE, path)
    (first,) = names(tmp_path)
    killed(FILE, path)
    (second,) = names(tmp_path)
    assert first != second
    with publish(path) as part:
        part.touch()
        assert names(tmp_path) == [part.name]
    assert names(tmp_path) == [path.name]


def test_the_next_attempt_removes_the_folder_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x"
    killed(FOLDER, path)
    assert names(path.parent) != []
    with publish_folder(path) as part:
        assert names(path.parent) == [part.name]
        assert names(part) == []
    assert names(path.parent) == ["x"]


def test_an_attempt_that_fails_leaves_nothing_of_the_killed_one_either(tmp_path: Path) -> None:
    killed(FILE, tmp_path / "x")
    with pytest.raises(RuntimeError), publish(tmp_path / "x"):
        raise RuntimeError
    assert names(tmp_path) == []


def test_what_a_living_process_writes_stays(tmp_path: Path, living: subprocess.Popen[str]) -> None:
    (theirs,) = tmp_path.iterdir()
    aged(theirs, 3 * DAY)  # however long it computes
    write_text(tmp_path / "x", "ours")
    assert names(tmp_path) == [theirs.name, "x"]
    assert theirs.read_text() == "half"


def test_a_killed_process_that_nobody_has_waited_for_is_dead(tmp_path: Path) -> None:
    process = started(FILE, tmp_path / "x")
    try:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
        write_text(tmp_path / "x", "ours")
        assert names(tmp_path) == ["x"]
    finally:
        process.communicate()


def test_only_files_of_the_same_target_are_removed(tmp_path: Path) -> None:
    for name in ("x.json", "y", ".x", "xx"):
        killed(FILE, tmp_path / name)
    before = names(tmp_path)
    mine = ["x.part", ".x.part", "x.1.part", ".x.1.partial"]
    for name in mine:
        (tmp_path / name).touch()
        aged(tmp_path / name, 3 * DAY)
    write_text(tmp_path / "x", "")
    assert names(tmp_path) == sorted([*before, *mine, "x"])


@pytest.mark.parametrize("writer", ["other_1-12", "12", "an-unknown-form"])
@pytest.mark.parametrize("end", ["part", "old", "part.0a1b.partial"])
def test_files_of_other_machines_stay_for_a_day(tmp_path: Path, writer: str, end: str) -> None:
    rest = tmp_path / f".x.{writer}.{end}"
    rest.touch()
    aged(rest, DAY - 60)
    write_text(tmp_path / "x", "")
    assert names(tmp_path) == [rest.name, "x"]
    aged(rest, DAY + 60)
    write_text(tmp_path / "x", "")
    assert names(tmp_path) == ["x"]


def test_a_folder_of_another_machine_is_as_young_as_its_newest_file(tmp_path: Path) -> None:
    rest = folder_with(tmp_path / ".x.other_1-12.part", "a")
    deep = folder_with(rest / "below", "b") / "b"
    for path in (rest, rest / "a", rest / "below"):
        aged(path, 2 * DAY)
    with publish_folder(tmp_path / "x"):
        pass
    assert names(tmp_path) == [rest.name, "x"]
    aged(deep, 2 * DAY)
    with publish_folder(tmp_path / "x"):
        pass
    assert names(tmp_path) == ["x"]


def test_the_same_process_id_in_another_container_is_another_process(
    tmp_path: Path,
) -> None:
    ours = unfinished(tmp_path / "x")
    machine = leftovers._machine()
    host = machine.rpartition("_")[0]
    other = tmp_path / ours.name.replace(machine, f"{host}_1")
    other.touch()
    write_text(tmp_path / "x", "")
    assert names(tmp_path) == [other.name, "x"]


def test_a_process_id_that_comes_again_finds_its_name_free(tmp_path: Path) -> None:
    folder_with(unfinished(tmp_path / "x"), "rest")
    with publish_folder(tmp_path / "x") as part:
        (part / "new").touch()
    assert names(tmp_path / "x") == ["new"]
    folder_with(unfinished(tmp_path / "x", "old"), "rest")
    with publish_folder(tmp_path / "x") as part:
        (part / "newer").touch()
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["newer"]


def test_a_host_of_any_name_gives_a_name_for_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "a-b.c/é " * 20)
    leftovers._machine.cache_clear()
    try:
        killed_here = unfinished(tmp_path / "x").with_name(
            f".x.{leftovers._machine()}-{2**22 + 1}.part"  # beyond what Linux numbers processes by
        )
        killed_here.touch()
        write_text(tmp_path / "x", "")
        assert names(tmp_path) == ["x"]
        assert len(killed_here.name) < 100
    finally:
        leftovers._machine.cache_clear()


def seen_by_a_failing_attempt(path: Path) -> list[str] | None:
    """What is in a folder once an attempt to replace it has begun; None if there is none."""
    seen = []
    with contextlib.suppress(RuntimeError), publish_folder(path):
        seen.append(names(path) if path.exists() else None)
        raise RuntimeError
    return seen[0]


def test_killed_between_the_two_renames_the_old_folder_comes_back(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "x", "before")
    killed(RENAMING.format(n=1), path)
    assert not path.exists()
    assert seen_by_a_failing_attempt(path) == ["before"]
    assert names(tmp_path) == ["x"]
    assert names(path) == ["before"]


def test_killed_behind_the_second_rename_the_new_folder_is_there(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "x", "before")
    killed(RENAMING.format(n=2), path)
    assert names(path) == ["new"]
    with pytest.raises(RuntimeError), publish_folder(path):
        raise RuntimeError
    assert names(tmp_path) == ["x"]
    assert names(path) == ["new"]


def test_half_an_old_folder_is_not_put_back(tmp_path: Path) -> None:
    """Killed while it was removed; then someone deletes the new one."""
    path = folder_with(tmp_path / "x", "a", "b")
    killed(REMOVING, path)
    (path / "new").unlink()
    path.rmdir()
    assert seen_by_a_failing_attempt(path) is None
    assert names(tmp_path) == []


def test_interrupted_between_the_two_renames_the_old_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = folder_with(tmp_path / "x", "before"), os.replace

    def interrupted(source: Path, target: Path) -> None:
        if target == path and names(source) == ["new"]:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), publish_folder(path) as part:
        (part / "new").touch()
    assert names(tmp_path) == ["x"]
    assert names(path) == ["before"]
