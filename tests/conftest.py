"""What all tests share: no network, and pico models built once."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of the hub's client
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # the last bits of a sum depend on it; a job sets it too

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def gpt2_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of a pico GPT-2; not to be changed."""
    import pico

    return pico.base(pico.gpt2(), tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="session")
def llama_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of a pico Llama; not to be changed."""
    import pico

    return pico.base(pico.llama(), tmp_path_factory.mktemp("llama"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fault-table FILE`: where the faults' rows are written (tests/slurm)."""
    parser.addoption("--fault-table", default=None)
