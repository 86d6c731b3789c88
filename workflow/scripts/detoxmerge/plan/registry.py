"""Parts that are one file each and found by their name: adding one edits no list."""

import ast
import contextlib
import pkgutil
from collections import UserDict
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

LIBRARY = Path(__file__).parents[1]
Params = BaseModel | Mapping[str, Any]  # a method's parameters, or a manifest's copy of them


M = TypeVar("M")


class Method(Protocol):
    """What every file of edit/methods states; its `__init__.py` says what each part means."""

    KIND: str
    VERB: str
    LABEL: str
    REFERENCE: str
    VERSION: int
    USES: tuple[str, ...]
    Params: type[BaseModel]

    def inputs(self, params: Any, at: Any) -> list[str]:
        """Manifests that it is made from."""

    def build(self, inputs: list[Path], params: Any, job: Any) -> dict[str, Any]:
        """Write its tensors; returns what the verb reads of `edit.json`."""


class Modules(UserDict[str, M]):
    """File name without ``.py`` -> module, sorted; imported when it is first asked for.

    `detoxmerge merge` needs one operator, and to import all takes as long as numpy does.
    """

    data: dict[str, Any]  # None until it is imported

    def __init__(self, package: str) -> None:
        """Find the files of a package; none is imported yet.

        Args:
            package: below this one's parent, for example ``edit.methods``.
        """
        super().__init__()
        self._folder = LIBRARY.joinpath(*package.split("."))
        names = sorted(module.name for module in pkgutil.iter_modules([str(self._folder)]))
        self.data = dict.fromkeys(names)
        self._package = f"{LIBRARY.name}.{package}"

    def __getitem__(self, name: str) -> M:
        if self.data[name] is None:
            self.data[name] = import_module(f"{self._package}.{name}")
        return self.data[name]

    def file(self, name: str) -> Path:
        """The file of a module, or of a package its ``__init__.py``."""
        alone = self._folder / f"{name}.py"
        return alone if alone.is_file() else self._folder / name / "__init__.py"

    def constants(self, name: str) -> dict[str, Any]:
        """What a module states as literals at its top level, read without importing it.

        So the Snakefile can ask verbs and figures, whose modules import torch and matplotlib.

        Returns:
            name -> value; assignments of anything but a literal are left out.
        """
        literals = {}
        for node in ast.parse(self.file(name).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                with contextlib.suppress(ValueError):
                    literals[node.targets[0].id] = ast.literal_eval(node.value)
        return literals


METHODS: Modules[Method] = Modules("edit.methods")
VERBS: Modules[ModuleType] = Modules("edit.verbs")
OPERATORS: Modules[ModuleType] = Modules("merge.operators")
FIGURES: Modules[ModuleType] = Modules("report.figures")
TABLES: Modules[ModuleType] = Modules("report.tables")
SCORERS: Modules[ModuleType] = Modules("models.scorers")


def metric_functions() -> list[str]:
    """The metrics by kind and function, read without importing them: they need numpy."""
    source = (LIBRARY / "measure" / "metrics.py").read_text(encoding="utf-8")
    return [
        f"{ast.literal_eval(decorator.args[0])}.{node.name}"
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "metric"
    ]


def first_line(module: ModuleType) -> str:
    """The first line of a module's docstring, which says what it is."""
    return (module.__doc__ or "").partition("\n")[0]


def params_of(method: str, values: Mapping[str, Any]) -> type[BaseModel]:
    """The class that checks a method's parameters.

    Args:
        values: one combination of a config entry, unchecked.
    """
    module = METHODS[method]
    return module.params_of(dict(values)) if hasattr(module, "params_of") else module.Params


def merged_shards(method: str, params: Params) -> int | None:
    """The N of an edit that has a place on a line over N; None for a method without `MERGES`."""
    return _declared("MERGES", method, params)


def recipe_of(method: str, params: Params) -> str | None:
    """The fine-tuning recipe behind an edit; None for a method without `RECIPE`."""
    return _declared("RECIPE", method, params)


def training_recipe(method: str, params: Params) -> str:
    """As `recipe_of`, for a method of KIND ``train``: ValueError if it has none."""
    recipe = recipe_of(method, params)
    if recipe is None:
        raise ValueError(f"the method {method} is of KIND train and states no RECIPE")
    return recipe


def scorer_of(method: str, params: Params) -> str | None:
    """The scorer that an edit chooses samples by; None for a method without `SCORER`."""
    return _declared("SCORER", method, params)


def left_out(method: str, params: Params) -> int | None:
    """Number of the shard that a leave-one-out edit omits; None without `LEAVES_OUT`."""
    return _declared("LEAVES_OUT", method, params)


def _declared(constant: str, method: str, params: Params) -> Any:
    """The value of the parameter whose name a method states in a constant."""
    name = getattr(METHODS[method], constant, None)
    if name is None:
        return None
    return params[name] if isinstance(params, Mapping) else getattr(params, name)


def operator_of(method: str, params: BaseModel) -> ModuleType | None:
    """The operator that an edit of a method merges by.

    Returns:
        Its module, with a docstring, REFERENCE and VERSION; None for a method without operators.
    """
    module = METHODS[method]
    return module.operator_of(params) if hasattr(module, "operator_of") else None


def refusals(method: str, params: BaseModel, config: Any) -> Iterable[str]:
    """A sentence for each thing in the config that a method cannot work with."""
    module = METHODS[method]
    return module.refusals(params, config) if hasattr(module, "refusals") else []


def forwards(method: str, params: BaseModel, scale: float) -> float:
    """Forward passes per generated token, which a method may state before it is built; else 1."""
    module = METHODS[method]
    return module.forwards(params, scale) if hasattr(module, "forwards") else 1.0


def of_kind(kind: str, verb: str | None = None) -> list[str]:
    """Names of the methods that one rule builds, sorted.

    Args:
        kind: ``merge`` (CPU and memory), ``train`` (GPU, hours) or ``fit`` (GPU, minutes).
        verb: of `edit.verbs`; None: any.
    """
    return sorted(
        name
        for name, method in METHODS.items()
        if kind == method.KIND and verb in (None, method.VERB)
    )


def replicates() -> list[str]:
    """Names of the methods whose edits only show how certain another's results are, sorted."""
    return sorted(name for name, method in METHODS.items() if hasattr(method, "REPLICATE_OF"))


def files_of_verb(verb: str) -> tuple[str, ...]:
    """Names of the tensor files beside the `edit.json` of a verb."""
    return VERBS.constants(verb)["FILES"]
