"""Write operators.md from the files of merge/operators: run by `make methods`."""

import inspect
import re
from pathlib import Path
from types import ModuleType

from make_methods import parameters, shown
from pydantic.fields import FieldInfo

from detoxmerge.plan.registry import METHODS, OPERATORS

PAGE = """# Merge operators

<!-- made by docs/make_operators.py from merge/operators: run `make methods` -->

An operator makes one vector, tau\\*, of the N task vectors tau_1 .. tau_N. The edit adds
scale times tau\\* to the base, so a negative scale subtracts it.
[config/README.md](../config/README.md#merge-operators) shows how a config names an operator.

| operator | merged vector | parameters and defaults | source |
|---|---|---|---|
{rows}
{sections}"""
SECTION = """
## {name}

{reference}. Version {version}.

```text
{about}
```

{params}
"""


def page() -> str:
    """The page.

    Returns:
        Markdown: a table of all operators, then a section for each, in the order of their names.
    """
    rows = "\n".join(_row(name, module) for name, module in OPERATORS.items())
    sections = "".join(_section(name, module) for name, module in OPERATORS.items())
    return PAGE.format(rows=rows, sections=sections)


def _row(name: str, module: ModuleType) -> str:
    summary = " ".join(_about(module).partition("\n\n")[0].split())
    names = ", ".join(
        _with_default(field, info) for field, info in module.Params.model_fields.items()
    )
    cells = [
        f"[`{name}`](#{name})",
        re.sub(r"([|*])", r"\\\1", summary),
        names,
        module.REFERENCE.rstrip("."),
    ]
    return f"| {' | '.join(cells)} |"


def _with_default(name: str, info: FieldInfo) -> str:
    if info.is_required():
        return f"`{name}` (must be given)"
    return f"`{name}` {shown(info.default)}"


def _section(name: str, module: ModuleType) -> str:
    return SECTION.format(
        name=name,
        reference=module.REFERENCE.rstrip("."),
        # the mean's numbers are those of the method
        version=getattr(module, "VERSION", METHODS["merge"].VERSION),
        about=_about(module),
        params=parameters(module.Params),
    )


def _about(module: ModuleType) -> str:
    return inspect.cleandoc(module.__doc__ or "")


if __name__ == "__main__":
    Path(__file__).with_name("operators.md").write_text(page())
