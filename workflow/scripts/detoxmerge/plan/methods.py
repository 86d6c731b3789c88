"""The methods: one file each in edit/methods, found by file name, imported without torch.

A module states `KIND`, `LABEL`, `REFERENCE`, `VERSION`, `USES`, `Params`, `inputs(params, at)` and
`build(inputs, params, out)`; edit/methods/merge.py is the example to follow. One that only repeats
another method to tell how sure its results are names that in `REPLICATE_OF`.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

from ..edit import methods

METHODS: dict[str, ModuleType] = {
    found.name: import_module(f"{methods.__name__}.{found.name}")
    for found in pkgutil.iter_modules(methods.__path__)
}


def of_kind(kind: str) -> list[str]:
    """Names of the methods that one rule builds.

    Args:
        kind: ``merge`` (CPU and memory), ``train`` (GPU, hours) or ``fit`` (GPU, minutes).

    Returns:
        Method names, sorted.
    """
    return sorted(name for name, method in METHODS.items() if kind == method.KIND)


def replicates() -> list[str]:
    """Names of the methods whose edits only tell how sure another's results are.

    Returns:
        Method names, sorted.
    """
    return sorted(name for name, method in METHODS.items() if hasattr(method, "REPLICATE_OF"))
