"""One SLURM for all tests of this folder, and a house whose fine-tunes can be disturbed."""

import contextlib
import json
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import pytest
from dag.conftest import build
from slurm.cluster import PACKAGES, Cluster, missing
from slurm.driver import SlurmHouse

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def cluster():
    """A running SLURM."""
    if gone := missing():
        warnings.warn(f"SLURM IS NOT TESTED: apt-get install {PACKAGES}", stacklevel=1)
        pytest.skip(f"{', '.join(gone)} not found: apt-get install {PACKAGES}")
    root = Path(tempfile.mkdtemp(prefix="dmslurm", dir="/tmp"))
    found = Cluster(root)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """All that comes before the fine-tunes, made on this machine."""
    folder = tmp_path_factory.mktemp("prepared") / "house"
    house = build(SlurmHouse, folder, HERE / "toy.yaml")
    house.run("--until", "fetch_model", "split_dataset")
    return house


@pytest.fixture(scope="session")
def undisturbed(prepared, tmp_path_factory):
    """What fine-tunes and merge give when nothing happens, without SLURM: path -> checksum."""
    house = prepared.copy(tmp_path_factory.mktemp("undisturbed") / "house")
    house.run("--until", "merge_edit")
    return house.finals()


@pytest.fixture
def house(prepared, cluster, tmp_path):
    """A copy of the prepared house, to be run through SLURM; no job of it stays behind."""
    found = SlurmHouse(prepared.copy(tmp_path / "house").folder, cluster)
    found.slow(0.05)  # 12 s of training: fast machines ended before the first checkpoint, at 3 s
    yield found
    found.end()


class Disk:
    """A small disk of its own under the first shard's folder."""

    def __init__(self, folder: Path) -> None:
        self.filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room."""
        with contextlib.suppress(OSError), open(self.filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    def free(self) -> None:
        """Make room again."""
        self.filler.unlink()


@pytest.fixture
def full_disk(house):
    """A disk that a test can fill."""
    folder = house.results / "models/pico/comments/shards/toy/n2/shard0/seed42"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield Disk(folder)
    finally:
        house.end()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def facts(request):
    """What docs/cluster.md shows; written at the end when `--fault-table FILE` is given."""
    found = {"faults": []}
    yield found
    if target := request.config.getoption("--fault-table"):
        Path(target).write_text(json.dumps(found, indent=1) + "\n")


@pytest.fixture(scope="session")
def table(facts):
    """Rows of the table of faults."""
    return facts["faults"]
