"""The config: read, completed with defaults, and refused with one sentence per error, all at once.

`Config` documents every key (with catalogue.py); config/schema.json is generated from it. What
pydantic cannot see by itself is in checks.py (aliases, a method's own parameters) and files.py.
"""

import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from .catalogue import Corpus, Dataset, Model, Prompts, Scorer, Selector
from .entries import Entry, MethodEntry, Seed, is_method_entry
from .errors import UserError, sentence
from .slug import NAME
from .training import Recipe

Alias = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]


def _scale(value: float) -> float:
    if value <= 0:
        raise ValueError(f"must be a number above 0 (0 is the base model), not {value}")
    return value


def _method_entry(value: Any) -> Any:
    if not is_method_entry(value):
        raise ValueError(f"must be `parameter: value`, or a list of such entries, not {value!r}")
    return value


def _folder(folder: str) -> str:
    """Without a slash at the end; Snakemake puts it before every path, as it stands."""
    kept = folder.strip().rstrip("/")
    if not kept:
        raise ValueError(f"must name a folder, not {folder!r}")
    if kept.startswith("~") or set("${}*") & set(kept):
        raise ValueError(f"'{kept}' is not expanded; write the path out, without ~ $ {{ }} *")
    return kept


class Split(Entry):
    """How a toxic set is cut into shards."""

    seed: int = Field(42, ge=0, description="seed of the shuffle before the cut")


class Statistics(Entry):
    """How intervals are made: paired bootstrap over prompts and windows."""

    seed: int = Field(42, ge=0, description="seed of the resampling")
    replicates: int = Field(2000, ge=100)
    confidence: float = Field(0.95, gt=0, lt=1)


class Stage(Entry):
    """What every edit is measured on."""

    prompts: list[str] = Field(min_length=1)
    corpora: list[str] = Field(min_length=1)
    scorers: list[str] = Field(min_length=1)


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
        None, description="model that judges continuations; none: each model's own base"
    )
    sweep: Stage = Field(description="every scale, on validation texts: what selectors read")
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

    results: Annotated[str, AfterValidator(_folder)] = Field(
        "results", min_length=1, description="folder that everything is written to"
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
        """What of the sweep a selector reads.

        Args:
            selector: alias.

        Returns:
            `prompts`, `scorer` and `corpus`: its own, or the sweep's first.
        """
        entry, sweep = self.selectors[selector], self.run.sweep
        return {
            "prompts": entry.prompts or sweep.prompts[0],
            "scorer": entry.scorer or sweep.scorers[0],
            "corpus": entry.corpus or sweep.corpora[0],
        }


def load_config(raw: dict[str, Any], files: Iterable[Path | str] = ()) -> Config:
    """Check a merged config.

    Args:
        raw: mappings, lists and scalars as YAML gives them.
        files: that it was read from; none: they are not looked at.

    Returns:
        The config with its defaults.

    Raises:
        SystemExit: with one sentence per error: where, what, how to mend it.
    """
    from .checks import bad_methods, refused_by_methods, repetitions, unknown_aliases
    from .exports import unknown_exports
    from .files import missing_paths, missing_shards, missing_sources
    from .grid import Grid
    from .seeds import repeated_generations
    from .stages import bad_selectors, shared_texts, trained_on
    from .yaml_keys import repeated_keys

    try:
        raw = _coerced(raw)
        errors = [*repeated_keys(files), *unknown_aliases(raw), *bad_methods(raw)]
        config = Config.model_validate(raw)
        errors += [*repetitions(config), *missing_paths(config), *shared_texts(config)]
        if not errors:
            errors = [*bad_selectors(config), *repeated_generations(config)]
            errors += [*trained_on(config), *refused_by_methods(config)]
        if not errors:  # a study with errors has no grid
            grid = Grid(config)
            errors = [*missing_shards(grid), *missing_sources(grid), *unknown_exports(grid)]
    except UserError as found:
        errors = [str(found)]
    except ValidationError as found:
        errors += [_sentence(error) for error in found.errors()]
    if errors:
        raise SystemExit("\n".join(["The config is not valid:", *(f"  {e}" for e in errors)]))
    return config


def _coerced(raw: dict[str, Any]) -> dict[str, Any]:
    """`--config run='{...}'` hands over text: read it as YAML, and plain numbers in its lists."""
    raw = dict(raw)
    run = raw.get("run")
    run = _read(run, "run")
    if isinstance(run, dict):
        run = {key: _read(value, f"run.{key}") for key, value in run.items()}
        for key in ("seeds", "scales"):
            if isinstance(run.get(key), list):
                run[key] = [_read(value, f"run.{key}") for value in run[key]]
    raw["run"] = run
    return raw


def _read(value: Any, where: str) -> Any:
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise UserError(f"{where}: its text is no YAML ({why}); check brackets") from None


def _sentence(error: Any) -> str:
    unknown = error["type"] == "extra_forbidden"
    known = _model_at(error["loc"][:-1]).model_fields if unknown else ()
    return sentence(error, _place(error["loc"]), known)


def _place(loc: tuple[Any, ...]) -> str:
    return ".".join(map(str, loc)) or "the config"


def _model_at(loc: tuple[Any, ...]) -> type[BaseModel]:
    """The entry class whose fields are valid at a place of the config."""
    here: Any = Config
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[part].annotation
        else:  # a key of a mapping, or a position in a list: go to the type of the values
            here = typing.get_args(here)[-1]
        here = _plain(here)
    return here


def _plain(annotation: Any) -> Any:
    """`X | None` and Annotated[X, ...] as X."""
    if typing.get_origin(annotation) is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _plain(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return annotation
