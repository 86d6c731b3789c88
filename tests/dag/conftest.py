"""The toy study, really run once, and a copy of it for each test."""

import json
import os
import shutil
from pathlib import Path

import pico
import pytest
import torch
import yaml
from dag.house import House, merged
from filelock import FileLock

HERE = Path(__file__).parent


def made_once(tmp_path_factory, name, make):
    """A house that the first of pytest's processes that needs it makes for all of them.

    Args:
        make: from a folder to its house.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return House(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The finished toy study; nobody may change it."""

    def make(folder):
        build(House, folder, HERE / "toy.yaml").run()

    return made_once(tmp_path_factory, "toy", make)


@pytest.fixture(scope="session")
def everything(finished, tmp_path_factory):
    """The toy study with all of everything.yaml, finished; nobody may change it."""

    def make(folder):
        house = finished.copy(folder)
        with house.config() as config:
            config |= everything_else(house, config)
        house.run()

    return made_once(tmp_path_factory, "everything", make)


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


def everything_else(house, config):
    """The config with everything.yaml over it, whose local files are written into the house."""
    from detoxmerge.data.generated import prompts

    write_given(house)
    lines = [json.dumps({"text": row["text"]}) for row in prompts(20, 13)]
    house.path("raw/seeds.jsonl").write_text("\n".join(lines) + "\n")
    return merged(config, yaml.safe_load((HERE / "everything.yaml").read_text()))


def write_given(house):
    """Two fine-tunes of the pico model, made elsewhere."""
    for i in range(2):
        model = pico.gpt2()
        with torch.no_grad():
            for name, change in pico.noise(model, seed=i, size=0.01).items():
                model.get_parameter(name).add_(change)
        model.save_pretrained(house.path(f"given/{i}"))


def write_comments(path, rows, seed):
    """Generated comments as JSON lines, with filler to a little over 1 MB."""
    from detoxmerge.data.generated import comments

    path.parent.mkdir(exist_ok=True)
    filler = "x" * (1_100_000 // rows)
    lines = [json.dumps(row | {"filler": filler}) for row in comments(rows, seed)]
    path.write_text("\n".join(lines) + "\n")
    assert path.stat().st_size > 1_000_000
