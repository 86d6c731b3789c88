"""Write methods.md from the files of edit/methods and edit/verbs: run by `make methods`."""

import ast
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from detoxmerge.plan.at import At
from detoxmerge.plan.paths import Paths
from detoxmerge.plan.registry import METHODS, VERBS, files_of_verb

SCALES = {
    "delta": "how far the weights go along the vector; of a trained model 1 is that model",
    "hooks": "the dial of its paper, see above",
    "logits": "the dial of its paper, see above",
    "choose": "log2 N, see above",
}
KINDS = {
    "merge": "a CPU and memory",
    "train": "a GPU, hours",
    "fit": "a GPU, minutes",
}
HEAD = """# Methods

<!-- made by docs/make_methods.py from edit/methods and edit/verbs: run `make methods` -->

Each ends as an edit of the base model with a scale, 0 being the base. An edit does one of these:

{verbs}

Entries of `methods` in the config name the parameters: a value is fixed, a list is swept, an alias
stands for an entry of the catalogue. What an edit costs stands in the main table of its study.

{contents}
"""
SECTION = """
## {name}

{label}. {reference}.

```text
{about}
```

| | |
|---|---|
| kind | `{kind}`: {needs} |
| verb | `{verb}` |
| scale | {scale} |
| depends on | {uses} |
| version | {version} |

{params}

Made from, below `results/{example}:

{inputs}
"""
LISTED = 4  # paths of one kind
BOUNDS = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    "minItems": "{} items or more",
    "maxItems": "{} items at most",
}


def page() -> str:
    """The page.

    Returns:
        Markdown: a section per method, in the order of their names.
    """
    verbs = "\n".join(f"- `{verb}`: {_docstring(VERBS.file(verb))}" for verb in _verbs())
    contents = "\n".join(f"- [{name}](#{name}): {m.LABEL}" for name, m in METHODS.items())
    sections = [section(name, module) for name, module in METHODS.items()]
    return "\n".join([HEAD.format(verbs=verbs, contents=contents).rstrip(), *sections])


def section(name: str, module: ModuleType) -> str:
    """What the page says of one method.

    Args:
        name: of its file.
        module: the file.

    Returns:
        Markdown.
    """
    values = example(module.Params)
    chosen = ", ".join(f"{key} = {value}" for key, value in values.items())
    uses = ", ".join({"dataset": "data set", "seed": "training seed"}[u] for u in module.USES)
    return SECTION.format(
        name=name,
        label=module.LABEL[0].upper() + module.LABEL[1:],
        reference=module.REFERENCE.rstrip("."),
        about=inspect.cleandoc(module.__doc__ or ""),
        kind=module.KIND,
        needs=KINDS[module.KIND] if files_of_verb(module.VERB) else "nothing; it is only described",
        verb=module.VERB,
        scale=SCALES[module.VERB],
        uses=uses or "neither data set nor training seed",
        version=module.VERSION,
        params=_method_parameters(module),
        example=f"`, for {chosen}" if chosen else "`",
        inputs="\n".join(_made_from(module, values)),
    )


def example(params: type[BaseModel]) -> dict[str, Any]:
    """The smallest values of the parameters that have no default; of more, if that is refused.

    Args:
        params: a method's `Params`.

    Returns:
        Values by name; the name of the parameter in braces stands for an alias.
    """
    schema = params.model_json_schema()["properties"]
    fields = params.model_fields.items()
    values = {n: _smallest(n, schema[n]) for n, field in fields if field.is_required()}
    try:
        params(**values)
    except ValidationError:  # what no default is needed for may need an alias
        null = [n for n, field in fields if field.default is None and "alias_of" in schema[n]]
        values |= {name: _smallest(name, schema[name]) for name in null}
    return values


def _smallest(name: str, field: dict[str, Any]) -> Any:
    if "enum" in field or "const" in field:
        return field.get("enum", [field.get("const")])[0]
    if field.get("type") in ("integer", "number"):
        return field.get("minimum", field.get("exclusiveMinimum", 0) + 1)
    return [f"{{{name}}}"] if field.get("type") == "array" else f"{{{name}}}"


def _made_from(module: ModuleType, values: dict[str, Any]) -> Iterator[str]:
    """The paths that a method asks for; of many of one kind the first."""
    texts = {key: value for key, value in values.items() if isinstance(value, str)}
    plain = {key: f"alias.{key}" for key, value in texts.items() if value.startswith("{")}
    at = At(Paths(), "alias.model", "alias.dataset", "alias.seed")
    # unchecked: what a parameter's value must be like does not matter here
    params = module.Params.model_construct(**values | plain)
    paths = [_with_braces(path, plain) for path in dict.fromkeys(module.inputs(params, at))]
    kinds: dict[str, list[str]] = {}
    for path in paths:
        kinds.setdefault("".join(c for c in path if not c.isdigit()), []).append(path)
    for same in kinds.values():
        yield from (f"- `{path}`" for path in same[:LISTED])
        if len(same) > LISTED:
            yield f"- ... {len(same)} of these"


def _with_braces(path: str, plain: dict[str, str]) -> str:
    for name in sorted([*plain, "model", "dataset", "seed", "prompts", "corpus", "scorer"]):
        path = path.replace(f"alias.{name}", f"{{{name}}}")
    return path.removeprefix("results/")


def _method_parameters(module: ModuleType) -> str:
    table = parameters(module.Params)
    if hasattr(module, "operator_of"):
        table += "\n\nAn operator has parameters of its own: see [operators.md](operators.md)."
    return table


def parameters(params: type[BaseModel]) -> str:
    """A table of parameters with default, values and description.

    Args:
        params: of a method or an operator.

    Returns:
        Markdown.
    """
    if not params.model_fields:
        return "It has no parameters."
    schema = params.model_json_schema()["properties"]
    lines = ["| parameter | default | values | is |", "|---|---|---|---|"]
    for name, field in params.model_fields.items():
        default = shown(field.get_default(call_default_factory=True))
        default = "must be given" if field.is_required() else f"`{default}`"
        values, about = _values(schema[name]), field.description or ""
        lines.append(f"| `{name}` | {default} | {values} | {about} |".replace("\n", " "))
    return "\n".join(lines)


def _values(field: dict[str, Any]) -> str:
    """What a parameter may be, from its JSON schema."""
    kinds = field.get("anyOf", [field])
    if "alias_of" in field:
        return f"alias of `{field['alias_of']}`"
    return " or ".join(dict.fromkeys(_kind(kind | _bounds(field)) for kind in kinds))


def _bounds(field: dict[str, Any]) -> dict[str, Any]:
    return {key: field[key] for key in BOUNDS if key in field}


def _kind(kind: dict[str, Any]) -> str:
    if "enum" in kind or "const" in kind:
        return ", ".join(f"`{shown(value)}`" for value in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "null":
        return "`null`"
    words = {"integer": "whole number", "boolean": "`true`, `false`", "array": "list"}
    word = words.get(kind.get("type", ""), kind.get("type", "any"))
    bounds = [BOUNDS[key].format(shown(value)) for key, value in _bounds(kind).items()]
    return f"{word} {', '.join(bounds)}".strip()


def shown(value: Any) -> str:
    """A parameter's value as a config has it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return format(value, "g") if isinstance(value, float) else str(value)


def _verbs() -> Iterable[str]:
    return [verb for verb in VERBS if verb != "none"]  # the base itself


def _docstring(file: Path) -> str:
    """Read, not imported: verbs import torch."""
    told = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(told.partition("\n\n")[0].split())


if __name__ == "__main__":
    Path(__file__).with_name("methods.md").write_text(page())
