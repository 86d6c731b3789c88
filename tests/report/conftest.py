"""A finished study for the tests that read one, and figures that are small and closed again."""

import shutil

import matplotlib.pyplot as plt
import pytest
from report.finished import grid, write


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the smallest study, all measured; nobody may change it."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(grid())
    return folder / "results"


@pytest.fixture(autouse=True)
def small_and_closed_figures():
    """Few dots, which are quick to draw: no test looks at the pixels."""
    with plt.rc_context({"savefig.dpi": 40}):
        yield
    plt.close("all")


@pytest.fixture
def finished(monkeypatch, made, tmp_path):
    """The smallest study, in the current folder, to be spoilt."""
    shutil.copytree(made, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return grid()
