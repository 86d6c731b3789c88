"""The entries of the config's catalogue: what each key means, its unit and its range."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model, model_validator

from .batch_size import BatchSizeField, batch_size
from .entries import Entry, Labelled, Source, Text, exactly_one, plain
from .local import FINE_TUNE_FILES, LocalPath
from .origin import Origin
from .registry import SCORERS, first_line
from .training import Pretrain


class Dataset(Labelled):
    """A data set to be split by a toxicity score into a toxic and a non-toxic part."""

    toxic_above: float = Field(0.8, ge=0, lt=1, description="toxic: score > this")
    nontoxic_below: float = Field(0.2, gt=0, le=1, description="non-toxic: score < this")
    nontoxic_share: float = Field(1.0, gt=0, le=1, description="share of the non-toxic part kept")
    nontoxic_seed: int = Field(42, ge=0, description="seed of that sample")

    @model_validator(mode="after")
    def _parts_are_disjoint(self) -> "Dataset":
        if self.nontoxic_below > self.toxic_above:
            raise ValueError(
                f"texts between toxic_above {self.toxic_above:g} and nontoxic_below "
                f"{self.nontoxic_below:g} would be both toxic and non-toxic; raise the former or "
                "lower the latter"
            )
        return self


class Generation(Entry):
    """How continuations are sampled. Every value that decides on a token is explicit."""

    samples: int = Field(25, ge=1, le=10**6, description="K, continuations per prompt")
    new_tokens: int = Field(20, ge=1, le=10**6, description="tokens generated at most")
    temperature: float = Field(1.0, ge=1e-6, description="logits are divided by it")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus mass; 1 switches it off")
    top_k: int = Field(0, ge=0, description="0 switches it off")
    prefix: str = Field("", description="text put before every prompt")
    seed: int = Field(42, ge=0, description="seed of every continuation's own random numbers")
    batch_size: BatchSizeField = batch_size("rows")


class Prompts(Source):
    """A prompt set and the generation protocol that belongs to it."""

    generate: Generation = Generation()


class Corpus(Source):
    """A text whose perplexity is measured in strided windows."""

    join: str = Field("\n\n", description="text put between two rows")
    window_tokens: int | None = Field(
        None,
        ge=2,
        description="tokens a window holds, with the begin-of-text token if the tokenizer puts one "
        "before a text; null: the model's context length",
    )
    stride_tokens: int = Field(512, ge=1, description="tokens between the starts of two windows")
    batch_size: BatchSizeField = batch_size("windows")

    @model_validator(mode="after")
    def _stride_fits(self) -> "Corpus":
        if self.window_tokens and self.stride_tokens > self.window_tokens:
            raise ValueError("stride_tokens is larger than window_tokens: tokens would be skipped")
        return self


class GivenFineTune(Origin):
    """A fine-tune made elsewhere: a model or LoRA adapter, or a task vector of this workflow."""

    PATH_KIND = "file or folder"
    FILES = FINE_TUNE_FILES

    path: Text | None = Field(None, description="folder, or delta.safetensors of a task vector")


def _as_fine_tune(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Model(Origin):
    """A base model: a hub id, a local folder, or one that the workflow trains itself."""

    OTHERS = ("pretrain",)

    pretrain: Pretrain | None = None
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="weights when measured")
    fine_tunes: list[
        Annotated[
            GivenFineTune,
            BeforeValidator(_as_fine_tune, json_schema_input_type=str | GivenFineTune),
        ]
    ] = Field(
        default=[],
        description="fine-tunes of it made elsewhere, for `merge_given`: local paths, or hub ids; "
        "$VARIABLES are expanded",
    )

    def pretraining(self) -> Pretrain:
        """How the workflow trains it; ValueError for a model that comes from elsewhere."""
        if self.pretrain is None:
            raise ValueError("the model has no `pretrain`: it comes from elsewhere")
        return self.pretrain

    @model_validator(mode="before")
    @classmethod
    def _renamed_key(cls, value: Any) -> Any:
        if isinstance(value, dict) and "shards" in value:
            raise ValueError("the key `shards` is now called `fine_tunes`; rename it")
        return value

    @model_validator(mode="after")
    def _fine_tunes_differ(self) -> "Model":
        tunes = self.fine_tunes
        repeated = [t.hub or t.path for i, t in enumerate(tunes) if t in tunes[:i]]
        if repeated:
            raise ValueError(f"`fine_tunes` lists '{repeated[0]}' twice; leave one out")
        return self


def _kind_field(name: str) -> Any:
    """The field of `Scorer` for a kind: its type and its description."""
    kind = SCORERS[name]
    return kind.Value | None, Field(None, description=first_line(kind))


# a field for each kind: a file that is added to models/scorers is a further key
_ScorerKinds: Any = create_model(
    "_ScorerKinds", __base__=Entry, **{name: _kind_field(name) for name in SCORERS}
)


class Scorer(_ScorerKinds):
    """What scores toxicity: one of the kinds of models/scorers, and how its scores are read."""

    label: str = Field("toxicity", description="output of the scorer that is read")
    thresholds: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        [0.2, 0.5, 0.8], description="shares of scores > these"
    )
    any_above: float = Field(0.5, ge=0, lt=1, description="toxicity probability: any of K > this")
    batch_size: BatchSizeField = batch_size("texts")

    @model_validator(mode="after")
    def _one_kind(self) -> "Scorer":
        exactly_one(self, *SCORERS)
        repeated = [t for i, t in enumerate(self.thresholds) if t in self.thresholds[:i]]
        if repeated:
            raise ValueError(f"`thresholds` lists {repeated[0]:g} twice; leave one out")
        return self

    @property
    def kind(self) -> str:
        """Its kind: the one key among those of models/scorers that it has."""
        return next(name for name in SCORERS if getattr(self, name) is not None)

    @property
    def value(self) -> Any:
        """What stands behind the key of its kind."""
        return getattr(self, self.kind)

    @property
    def rule(self) -> str:
        """What makes its manifest: ``fetch_scorer`` or ``train_scorer``."""
        return SCORERS[self.kind].RULE

    @property
    def cutoffs(self) -> dict[str, list[float] | float]:
        """The thresholds that its scores are compared with, by the key that states them."""
        return {"thresholds": self.thresholds, "any_above": self.any_above}

    def protocol(self) -> dict[str, Any]:
        """What decides its scores, under the name of its kind; nothing of the other kinds."""
        return {self.kind: plain(self.value)}

    def local_paths(self) -> list[LocalPath]:
        """The files of this machine that decide what it is."""
        return SCORERS[self.kind].local_paths(self.value)

    def words(self) -> str:
        """For a model card: what it is, and which of its outputs is read."""
        return f"{SCORERS[self.kind].words(self.value)}; label `{self.label}`"


class Selector(Entry):
    """A rule that chooses scales of an edit by what the sweep measured."""

    rule: Literal["fixed", "ppl-budget", "ppl-ratio", "matched", "pareto"] = Field(
        description="fixed: this scale; ppl-budget, ppl-ratio: the largest scale within; matched: "
        "the smallest scale that is as little toxic as another edit; pareto: every scale that no "
        "cheaper one undercuts"
    )
    scale: float | None = Field(None, gt=0, description="fixed: one of run.scales")
    budget: float | None = Field(None, gt=0, description="ppl-budget: perplexity above the base's")
    ratio: float | None = Field(None, gt=1, description="ppl-ratio: perplexity over the base's")
    to: str | None = Field(None, description="matched: the other edit, `method/setting`")
    by: str | None = Field(None, description="matched: the selector that chooses its scale")
    prompts: str | None = Field(None, description="toxicity is read on; null: the sweep's first")
    scorer: str | None = Field(None, description="and by; null: the sweep's first")
    corpus: str | None = Field(None, description="perplexity is read on; null: the sweep's first")

    @model_validator(mode="after")
    def _what_its_rule_needs(self) -> "Selector":
        needs = {
            "fixed": {"scale"},
            "ppl-budget": {"budget"},
            "ppl-ratio": {"ratio"},
            "matched": {"to", "by"},
            "pareto": set(),
        }[self.rule]
        given = {
            name
            for name in ("scale", "budget", "ratio", "to", "by")
            if getattr(self, name) is not None
        }
        if given != needs:
            raise ValueError(
                f"rule {self.rule} takes {', '.join(sorted(needs)) or 'no value'}; "
                f"has {', '.join(sorted(given)) or 'none'}"
            )
        return self
