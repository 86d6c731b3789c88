"""What a config may say; load.py reads one.

`Config` documents every key (with catalogue.py); config/schema.json is generated from it. What
pydantic cannot check by itself is in checks/: aliases, a method's parameters, local files.
"""

import os
import typing
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    model_validator,
)

from .catalogue import Corpus, Dataset, Model, Prompts, Scorer, Selector
from .entries import Entry, MethodEntry, Seed, is_method_entry
from .slug import MAX_ALIAS, MAX_BYTES, NAME, require_name
from .training import Recipe

LARGEST = 3.4e38  # of fp32, about
Alias = Annotated[
    str,
    StringConstraints(pattern=f"^{NAME}$"),
    AfterValidator(lambda name: require_name(name, MAX_ALIAS)),
]


def _scale(value: float) -> float:
    if value <= 0:
        raise ValueError(f"must be a number above 0 (0 is the base model), not {value}")
    if value > LARGEST:
        raise ValueError(f"must be a number of fp32, at most {LARGEST:g}, not {value:g}")
    return value


def _method_entry(value: Any) -> Any:
    if not is_method_entry(value):
        raise ValueError(f"must be `parameter: value`, or a list of such entries, not {value!r}")
    return value


def as_folder(folder: str) -> str:
    """Without a slash at the end; Snakemake puts it before every path, and expands nothing.

    Raises:
        ValueError: no folder can be called so.
    """
    kept = folder.strip().rstrip("/")
    if not kept:
        raise ValueError(f"must name a folder, not {folder!r}")
    if kept.startswith("~") or set("${}*") & set(kept):
        raise ValueError(f"'{kept}' is not expanded; write the path out, without ~ $ {{ }} *")
    if not kept.isprintable():
        raise ValueError(f"{kept!r} has characters that cannot be seen; leave them out")
    size = max(len(os.fsencode(name)) for name in kept.split("/"))
    if size > MAX_BYTES:
        raise ValueError(f"a name in it has {size} bytes, and {MAX_BYTES} are the most; shorten it")
    return kept


class Split(Entry):
    """How a toxic set is cut into shards."""

    seed: int = Field(42, ge=0, description="seed of the shuffle before the cut")


class Statistics(Entry):
    """How intervals are made: paired bootstrap over prompts and windows."""

    seed: int = Field(42, ge=0, description="seed of the resampling")
    replicates: int = Field(2000, ge=100, le=10**5)
    confidence: float = Field(0.95, gt=0, lt=1)


class Stage(Entry):
    """What every edit is measured on."""

    prompts: list[str] = Field(min_length=1)
    corpora: list[str] = Field(min_length=1)
    scorers: list[str] = Field(min_length=1)


class Within(Entry):
    """A limit that perplexity alone decides on, before anything is sampled."""

    ppl_ratio: float = Field(
        gt=1, description="highest perplexity over the base's, on each corpus of the sweep"
    )


class Sweep(Stage):
    """The stage that measures every scale, or those within a limit."""

    within: Within | None = Field(
        None,
        description="scales beyond it have no toxicity and no fluency; null: every scale has them",
        exclude_if=lambda within: within is None,  # a study without it has the config of before
    )


class Run(Entry):
    """The selection: which entries of the catalogue this study crosses."""

    models: list[str] = Field(min_length=1)
    datasets: list[str] = Field(min_length=1)
    methods: list[str] = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1, description="training seeds")
    scales: list[Annotated[float, AfterValidator(_scale)]] = Field(
        min_length=1, description="how far to go along an edit"
    )
    method_scales: dict[
        str, Annotated[list[Annotated[float, AfterValidator(_scale)]], Field(min_length=1)]
    ] = Field(
        default={},
        description="method: its own scales, where they mean something else (alpha of steering)",
    )
    fluency_judge: str | None = Field(
        None, description="model that judges continuations; null: each model's own base"
    )
    sweep: Sweep = Field(description="every scale, on validation texts: what selectors read")
    selectors: list[str] = Field([], description="rules that choose scales for the final stage")
    final: Stage | None = Field(None, description="the chosen scales only, on test texts")
    exports: list[str] = Field(
        default=[],
        description="models to write as Hugging Face folders: {model}/{edit}/scale{scale}",
    )

    @property
    def stages(self) -> dict[str, Stage]:
        """Stage -> what it measures on."""
        return {"sweep": self.sweep} | ({"final": self.final} if self.final else {})

    @model_validator(mode="after")
    def _final_needs_a_choice(self) -> "Run":
        if self.final and not self.selectors:
            raise ValueError("`final` measures chosen scales: name a rule in run.selectors")
        return self

    def judge_of(self, model: str) -> str:
        """The model whose base judges the continuations of a model's edits."""
        return self.fluency_judge or model

    @property
    def bases(self) -> list[str]:
        """Models whose base is needed: those that are edited, and the judge."""
        return list(dict.fromkeys([*self.models, *map(self.judge_of, self.models)]))


class Config(Entry):
    """The whole config: a catalogue (what exists) and a selection (`run`: what to do)."""

    results: Annotated[str, AfterValidator(as_folder)] = Field(
        "results",
        min_length=1,
        description="folder that everything is written to: new, or with an earlier study",
    )
    device: typing.Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one; cuda: fail without one"
    )
    models: dict[Alias, Model]
    datasets: dict[Alias, Dataset]
    recipes: dict[Alias, Recipe] = Field(default={"default": Recipe()}, description="fine-tuning")
    prompts: dict[Alias, Prompts]
    corpora: dict[Alias, Corpus]
    scorers: dict[Alias, Scorer]
    methods: dict[str, Annotated[MethodEntry, BeforeValidator(_method_entry)]] = Field(
        description="a method's parameters; a list is swept; or a list of such entries"
    )
    selectors: dict[Alias, Selector] = Field(default={}, description="rules that choose scales")
    split: Split = Split()
    statistics: Statistics = Statistics()
    run: Run

    def read_by(self, selector: str) -> dict[str, str]:
        """The sets of the sweep that a selector reads.

        Returns:
            `prompts`, `scorer` and `corpus`: its own, or the sweep's first.
        """
        entry, sweep = self.selectors[selector], self.run.sweep
        return {
            "prompts": entry.prompts or sweep.prompts[0],
            "scorer": entry.scorer or sweep.scorers[0],
            "corpus": entry.corpus or sweep.corpora[0],
        }
