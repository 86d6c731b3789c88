"""Modules that are found by file name: whoever adds one edits no list."""

import pkgutil
from collections import UserDict
from importlib import import_module
from types import ModuleType


class Modules(UserDict[str, ModuleType]):
    """File name without ``.py`` -> module, sorted; imported when it is first asked for.

    `detoxmerge merge` needs one operator, and to import all takes as long as numpy does.
    """

    def __init__(self, package: ModuleType) -> None:
        """
        Args:
            package: its modules import without torch and numpy, as the Snakefile imports them.
        """
        super().__init__()
        names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
        self.data = dict.fromkeys(names)
        self._package = package.__name__

    def __getitem__(self, name: str) -> ModuleType:
        if self.data[name] is None:
            self.data[name] = import_module(f"{self._package}.{name}")
        return self.data[name]
