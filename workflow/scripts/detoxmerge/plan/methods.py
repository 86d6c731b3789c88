"""The methods: one file each in edit/methods, found by file name, imported without torch.

A module states `KIND`, `LABEL`, `REFERENCE`, `VERSION`, `USES`, `Params`, `inputs(params, at)` and
`build(inputs, params, out)`; edit/methods/leave_one_out.py is the example to follow. One that only
repeats another method to tell how sure its results are names that in `REPLICATE_OF`.

It may also have `params_of(values)` (the class of its parameters, where that depends on one of
them), `operator_of(params)` (a module whose docstring, REFERENCE and VERSION tell of these
parameters, or None) and `single_of(params)` (the parameters of the single task vector that the
headline compares with); edit/methods/merge.py has all three.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from ..edit import methods
from .modules import Modules

METHODS = Modules(methods)


def params_of(method: str, values: Mapping[str, Any]) -> type[BaseModel]:
    """The class of a method's parameters.

    Args:
        method: name.
        values: one combination of a config entry, unchecked.

    Returns:
        The class, which says what is wrong with them.
    """
    module = METHODS[method]
    return module.params_of(dict(values)) if hasattr(module, "params_of") else module.Params


def operator_of(method: str, params: BaseModel) -> ModuleType | None:
    """What tells more of an edit than its method does.

    Args:
        method: name.
        params: of the edit.

    Returns:
        A module with a docstring, REFERENCE and VERSION; None where the method tells all.
    """
    module = METHODS[method]
    return module.operator_of(params) if hasattr(module, "operator_of") else None


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
