"""The floors of the house: imports go down only, in no circle, and some floors have no torch."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import detoxmerge

LIBRARY = Path(detoxmerge.__file__).parent
# from the ground up; the package's own files stand by themselves
FLOORS = (
    "errors", "plan", "storage", "models", "data", "merge", "train", "edit", "measure", "report",
    "session", "arguments", "cli", "__main__",
)  # fmt: skip
WITHOUT_TORCH = (
    "errors", "plan", "storage", "models.scorers", "merge", "session", "arguments", "cli",
    "edit.methods",
)  # fmt: skip
HEAVY = {"torch", "transformers", "accelerate", "detoxify"}

MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in LIBRARY.rglob("*.py")
    if path != LIBRARY / "__init__.py"
}


@cache
def imports(module: str) -> tuple[tuple[str, bool], ...]:
    """(what a module imports, whether when it is imported itself); own modules without prefix."""
    path = MODULES[module]
    package = path.relative_to(LIBRARY).parent.parts

    def walk(node: ast.AST, at_once: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((name.name, at_once) for name in child.names)
            if isinstance(child, ast.ImportFrom) and child.level:
                above = package[: len(package) - child.level + 1]
                source = ".".join([*above, *([child.module] if child.module else [])])
                for name in child.names:
                    whole = f"{source}.{name.name}".lstrip(".")
                    yield whole if whole in MODULES else source, at_once
            elif isinstance(child, ast.ImportFrom):
                yield child.module, at_once
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            inside = isinstance(child, ast.FunctionDef | ast.Lambda)
            yield from walk(child, at_once and not inside)

    return tuple(walk(ast.parse(path.read_text()), True))


def own_imports(module: str) -> set[str]:
    return {name for name, _ in imports(module) if name in MODULES} - {module}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_only(module: str) -> None:
    here = FLOORS.index(module.split(".")[0])
    above = {name for name in own_imports(module) if FLOORS.index(name.split(".")[0]) > here}
    assert not above


@pytest.mark.parametrize("module", sorted(MODULES))
def test_own_imports_exist(module: str) -> None:
    own = {name for name, _ in imports(module) if name.split(".")[0] in FLOORS[:-2]}
    assert own <= set(MODULES)


def test_there_is_no_circle() -> None:
    # a package imports its modules by name, and they may import what it has
    TopologicalSorter({module: own_imports(module) for module in MODULES}).prepare()


def test_no_floor_is_missing() -> None:
    assert {module.split(".")[0] for module in MODULES} == set(FLOORS)


@cache
def loaded(module: str) -> frozenset[str]:
    """Everything that is imported with a module, at once."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in MODULES:
            waiting += [other for other, at_once in imports(name) if at_once]
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return frozenset(found)


@pytest.mark.parametrize("module", [m for m in sorted(MODULES) if m.startswith(WITHOUT_TORCH)])
def test_floors_without_torch(module: str) -> None:
    heavy = {name.split(".")[0] for name in loaded(module)} & HEAVY
    assert not heavy
