"""Resolve pyproject.toml's dependencies anew and pin all of them: run by `make lock`.

Writes lock.txt, which pip installs from, and detoxmerge.yaml, the conda environment for
`--software-deployment-method conda`, with the same pins. PyTorch's own CUDA packages are not in the
lock: the torch package pins each of them itself, and its CPU build has none.
"""

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

HERE = Path(__file__).parent
HEAD = "# Made by `make lock` from pyproject.toml; do not edit.\n"


def conda_environment(lock: str) -> str:
    """The conda environment with the pins of a lock.

    Args:
        lock: content of lock.txt.

    Returns:
        YAML.
    """
    pins = [line for line in lock.splitlines() if line and not line.startswith("#")]
    lines = ["channels: [conda-forge]", "dependencies:", "  - python=3.11", "  - pip", "  - pip:"]
    return HEAD + "\n".join([*lines, *(f"      - {pin}" for pin in pins)]) + "\n"


def resolve() -> str:
    """What pip installs for the direct dependencies, in an environment of its own.

    Returns:
        Content of lock.txt.
    """
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    direct = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    direct += project["project"]["optional-dependencies"]["workflow"]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip"]
        subprocess.run([*pip, "install", *direct], check=True)
        frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True)
    return HEAD + frozen.stdout.replace("+cpu", "")  # which build is install.sh's business


if __name__ == "__main__":
    lock = resolve() if "--keep" not in sys.argv else (HERE / "lock.txt").read_text()
    (HERE / "lock.txt").write_text(lock)
    (HERE / "detoxmerge.yaml").write_text(conda_environment(lock))
