"""docs/methods.md and docs/operators.md: current, and ready for methods that do not exist yet."""

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import make_methods
import make_operators
import pytest
from pydantic import BaseModel, Field

from detoxmerge.plan.entries import alias_of
from detoxmerge.plan.registry import METHODS, OPERATORS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("make", [make_methods, make_operators], ids=lambda make: make.__name__)
def test_the_page_is_current(make: ModuleType) -> None:
    name = make.__name__.removeprefix("make_")
    assert (DOCS / f"{name}.md").read_text() == make.page(), "run `make methods`"


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_operator_is_told_of(name: str) -> None:
    module, text = OPERATORS[name], (DOCS / "operators.md").read_text()
    (row,) = re.findall(rf"^\| \[`{name}`\]\(#{name}\) \|.*$", text, re.M)
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert module.REFERENCE.rstrip(".") in row
    assert module.__doc__.strip() in section
    for field in module.Params.model_fields:
        assert f"`{field}`" in row
        assert f"\n| `{field}` |" in section


def test_no_path_lacks_a_parameter() -> None:
    text = (DOCS / "methods.md").read_text()
    assert not [line for line in text.splitlines() if line.startswith("- `") and "None" in line]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_and_parameter_is_told_of(name: str) -> None:
    text = (DOCS / "methods.md").read_text()
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    module = METHODS[name]
    assert module.REFERENCE.rstrip(".") in section
    assert f"`{module.KIND}`" in section
    assert f"| verb | `{module.VERB}` |" in section
    for field in module.Params.model_fields:
        assert f"\n| `{field}` |" in section
    for line in module.__doc__.strip().splitlines():
        assert line in section


class Params(BaseModel, extra="forbid", strict=True):
    """Of every form that a method may ask for."""

    prompts: str = Field(description="texts", json_schema_extra=alias_of("prompts"))
    scorer: str | None = Field(None, description="judge", json_schema_extra=alias_of("scorers"))
    mode: Literal["wide", "narrow"] = Field(description="how")
    count: int = Field(gt=2, le=9, description="how many")
    rate: float = Field(1e-5, gt=0, lt=1, description="step\nsize")
    layers: list[int] = Field([], min_length=0, description="which")
    fast: bool = Field(True, description="or slow")
    rank: int | None = Field(None, ge=1, description="none: all")


def method(**more: Any) -> Any:
    """A method that steers by what it reads of many artefacts."""

    def inputs(params: Any, at: Any) -> list[str]:
        every = [at.shard("default", 20, i) for i in range(20)]
        return [
            at.base(),
            at.samples(params.prompts),
            at.scores(params.prompts, "alias.scorer"),
            at.edit("merge", {"n": params.count}),
            *every,
        ]

    fields = {
        "__doc__": "Steers.\n\n    h <end> * 2_x\n\nSo it does.\n",
        "KIND": "fit",
        "VERB": "hooks",
        "LABEL": "steering",
        "REFERENCE": "Someone, 2026.",
        "VERSION": 4,
        "USES": ("dataset",),
        "Params": Params,
        "inputs": inputs,
    }
    return SimpleNamespace(**fields | more)


def test_a_method_to_come_is_told_of_in_full() -> None:
    text = make_methods.section("steer", method())
    for line in (
        "## steer",
        "Steering. Someone, 2026.",
        "    h <end> * 2_x",
        "| kind | `fit`: a GPU, minutes |",
        "| verb | `hooks` |",
        "| depends on | data set |",
        "| version | 4 |",
        "| `prompts` | must be given | alias of `prompts` | texts |",
        "| `scorer` | `null` | alias of `scorers` | judge |",
        "| `mode` | must be given | `wide`, `narrow` | how |",
        "| `count` | must be given | whole number > 2, <= 9 | how many |",
        "| `rate` | `1e-05` | number > 0, < 1 | step size |",
        "| `layers` | `[]` | list 0 items or more | which |",
        "| `fast` | `true` | `true`, `false` | or slow |",
        "| `rank` | `null` | whole number >= 1 or `null` | none: all |",
        "Made from, below `results/`, for prompts = {prompts}, mode = wide, count = 3:",
        "- `models/{model}/base/edit.json`",
        "- `evals/{model}/base/{prompts}/generations.json`",
        "- `evals/{model}/base/{prompts}/toxicity-{scorer}.json`",
        "- `models/{model}/{dataset}/merge/n=3/seed{seed}/edit.json`",
        "- `models/{model}/{dataset}/shards/default/n20/shard3/seed{seed}/meta.json`",
        "- ... 20 of these",
    ):
        assert f"\n{line}\n" in text, line
    assert "shard4/" not in text


def test_a_method_without_parameters_says_so() -> None:
    class Nothing(BaseModel):
        pass

    text = make_methods.section(
        "plain", method(Params=Nothing, inputs=lambda params, at: [at.base()])
    )
    assert "It has no parameters." in text
    assert "Made from, below `results/`:" in text
