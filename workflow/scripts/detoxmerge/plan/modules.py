"""Modules that are found by file name: whoever adds one edits no list."""

import pkgutil
from importlib import import_module
from types import ModuleType


def by_file_name(package: ModuleType) -> dict[str, ModuleType]:
    """The modules of a package.

    Args:
        package: its modules import without torch and numpy, as the Snakefile imports them.

    Returns:
        File name without ``.py`` -> module, sorted.
    """
    found = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {name: import_module(f"{package.__name__}.{name}") for name in found}
