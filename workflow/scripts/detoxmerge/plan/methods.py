"""The methods: one file each in edit/methods, found by file name, imported without torch.

A module states, beside its docstring (what, formula, paper),

    KIND        ``merge`` (CPU, memory), ``train`` (GPU, hours) or ``fit`` (GPU, minutes)
    VERB        what its edit does: a file of edit/verbs; KIND and VERB pick the rule that builds it
    LABEL, REFERENCE, VERSION (bumped when its numbers change)
    USES        of ``dataset`` and ``seed`` those that it depends on
    Params      its parameters; one that names an entry of the catalogue is marked `alias_of`
    inputs(params, at) -> manifests            what it is made from (`plan.at.At`)
    build(inputs, params, job) -> fields       writes the tensors (`edit.job.Job`); gives `verb`,
                                               `tensors` if there are any, and what the verb reads

edit/methods/leave_one_out.py is the example to follow. One that only repeats another method to tell
how sure its results are names that in `REPLICATE_OF`.

It may also have `params_of(values)` (the class of its parameters, where that depends on one of
them), `operator_of(params)` (a module whose docstring, REFERENCE and VERSION tell of these
parameters, or None), `single_of(params)` (the parameters of the single task vector that the
headline compares with; edit/methods/merge.py has all three), `refusals(params, config)` (yields
a sentence for each thing in the config that it cannot work with) and `forwards(params, scale)`
(forward passes per token, where they are many: for the time that a job asks for).
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


def forwards(method: str, params: BaseModel, scale: float) -> float:
    """Forward passes per generated token, as far as a method tells before it is built.

    Args:
        method: name.
        params: of the edit.
        scale: of the edit.

    Returns:
        1 where it says nothing.
    """
    module = METHODS[method]
    return module.forwards(params, scale) if hasattr(module, "forwards") else 1.0


def of_kind(kind: str, verb: str | None = None) -> list[str]:
    """Names of the methods that one rule builds.

    Args:
        kind: ``merge`` (CPU and memory), ``train`` (GPU, hours) or ``fit`` (GPU, minutes).
        verb: of `edit.verbs`; none: any.

    Returns:
        Method names, sorted.
    """
    of = {name: method for name, method in METHODS.items() if kind == method.KIND}
    return sorted(name for name, method in of.items() if verb in (None, method.VERB))


def replicates() -> list[str]:
    """Names of the methods whose edits only tell how sure another's results are.

    Returns:
        Method names, sorted.
    """
    return sorted(name for name, method in METHODS.items() if hasattr(method, "REPLICATE_OF"))
