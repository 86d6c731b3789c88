"""What every figure and table states, and that the Snakefile reads just that."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from detoxmerge.plan.grid import Grid
from detoxmerge.plan.paths import Paths
from detoxmerge.plan.registry import FIGURES, TABLES, Modules

ROOT = Path(__file__).parents[2]
FILES = [*((FIGURES, name) for name in FIGURES), *((TABLES, name) for name in TABLES)]
READ_BY = (ROOT / "workflow/rules/report_files.smk").read_text().partition("READ_BY = {")[2]
NEEDS = set(re.findall(r'^    "(\w+)":', READ_BY.partition("\n}")[0], re.M))


def stated(module: ModuleType) -> dict[str, object]:
    constants = ("TITLE", "CATEGORY", "NEEDS", "ONLY_IF", "BESIDE")
    return {name: getattr(module, name) for name in constants if hasattr(module, name)}


@pytest.mark.parametrize(("modules", "name"), FILES, ids=lambda value: str(value))
def test_what_the_snakefile_reads_is_what_the_file_states(modules: Modules, name: str) -> None:
    read, module = modules.constants(name), modules[name]
    assert stated(module).items() <= read.items()
    assert module.__doc__
    assert set(module.NEEDS) <= NEEDS
    number = module.TITLE.split()[0]
    assert re.fullmatch(r"\d\.\d", number)
    assert number[0] == module.CATEGORY.split()[0]
    assert (ROOT / f"workflow/report/{name}.rst").is_file()
    assert callable(module.table)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_draws_its_table(name: str) -> None:
    assert callable(FIGURES[name].draw)
    assert FIGURES[name].ONLY_IF is None or hasattr(Grid, FIGURES[name].ONLY_IF)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_names_what_it_makes_beside(name: str) -> None:
    assert isinstance(TABLES.constants(name)["VERSION"], int)
    assert all(callable(getattr(TABLES[name], beside)) for beside in TABLES[name].BESIDE)
    assert all(hasattr(Paths("results"), beside) for beside in TABLES[name].BESIDE)


def test_titles_have_places_of_their_own() -> None:
    titles = [modules.constants(name)["TITLE"] for modules, name in FILES]
    assert len({title.split()[0] for title in titles}) == len(titles)
