"""The toy study, really run once, and a copy of it for each test."""

import json
import os
import shutil
from pathlib import Path

import pico
import pytest
from dag.house import House
from filelock import FileLock

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The finished toy study, which all processes of this test run share; nobody may change it."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    house, done = House(folder / "toy" / "house"), folder / "toy" / "done"
    folder.joinpath("toy").mkdir(exist_ok=True)
    with FileLock(folder / "toy" / "lock"):
        if not done.is_file():
            shutil.rmtree(house.folder, ignore_errors=True)  # of a process that failed
            build(House, house.folder, HERE / "toy.yaml").run()
            done.touch()
    return house


@pytest.fixture
def house(finished, tmp_path):
    """A copy of the finished toy study."""
    return finished.copy(tmp_path / "house")


@pytest.fixture
def empty_house(tmp_path):
    """The workflow without results and without toy config."""
    return House.build(tmp_path / "house")


def build(kind, folder, config):
    """A house of this kind without results, with a pico model and the raw file of a toy study."""
    house = kind.build(folder)
    shutil.copy(config, house.path("toy.yaml"))
    pico.save(pico.gpt2(), house.path("models/pico"))
    write_comments(house.path("raw/comments.jsonl"), rows=120, seed=2)
    return house


def write_comments(path, rows, seed):
    """Generated comments as JSON lines, with filler to a little over 1 MB."""
    from detoxmerge.data.generated import comments

    path.parent.mkdir(exist_ok=True)
    filler = "x" * (1_100_000 // rows)
    lines = [json.dumps(row | {"filler": filler}) for row in comments(rows, seed)]
    path.write_text("\n".join(lines) + "\n")
    assert path.stat().st_size > 1_000_000
