"""The entries of the config's catalogue: what each key means, its unit and its range.

`protocol(entry)` is what of an entry changes numbers; fields marked `SPEED` do not, and stand in
no rule's params and in no measurement's key. A field that came later is marked `LATER`: it stands
there unless it has its default, under which the numbers are those of before.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

SPEED: dict[str, Any] = {"speed_only": True}
LATER: dict[str, Any] = {"left_out_at_default": True}


def as_list(value: Any) -> Any:
    """A single value as a list of one; a list as it is."""
    return value if isinstance(value, list) or value is None else [value]


Names = Annotated[list[str], BeforeValidator(as_list)]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="commit hash on the hub")]


class Entry(BaseModel, extra="forbid", strict=True):
    """Base of all entries: unknown keys and wrong types are errors."""


def exactly_one(entry: Entry, *names: str) -> None:
    """Raise ValueError unless just one of these fields is given."""
    given = [name for name in names if getattr(entry, name) is not None]
    if len(given) != 1:
        raise ValueError(f"must have exactly one of {', '.join(names)}; has {given or 'none'}")


def protocol(entry: BaseModel, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """What of an entry changes numbers, as plain JSON values.

    Args:
        entry: a catalogue entry.
        without: names of further fields to leave out.

    Returns:
        Field values by name, nested entries likewise, without the fields marked `SPEED`, and those
        marked `LATER` at their default.
    """
    return {
        name: _plain(getattr(entry, name))
        for name, field in type(entry).model_fields.items()
        if name not in without
        and field.json_schema_extra != SPEED
        and not (field.json_schema_extra == LATER and getattr(entry, name) == field.default)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return protocol(value)
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


class Sample(Entry):
    """A seeded sample of rows, without replacement."""

    rows: int = Field(ge=1, description="number of rows kept")
    seed: int = Field(ge=0, description="seed of the choice")


class Generated(Entry):
    """Text of this project's own seeded generator: needs no network and no file."""

    kind: Literal["comments", "prompts"]
    rows: int = Field(ge=1, description="number of texts")
    seed: int = Field(ge=0, description="seed of the generator")


class Source(Entry):
    """Rows of text: from the hub, from local files, or from the embedded generator."""

    hub: str | None = Field(None, description="data set id on the Hugging Face hub")
    revision: Revision | None = None
    subset: str | None = Field(None, description="name of the hub data set's configuration")
    splits: Names | None = Field(None, description="splits of the hub data set, concatenated")
    path: Names | None = Field(
        None, description="local .parquet, .jsonl, .json, .csv (also .gz); $VARIABLES are expanded"
    )
    generated: Generated | None = None
    where: dict[str, str | int | bool] = Field(
        default={}, description="column: value; rows that differ are left out"
    )
    text: str = Field("text", description="column with the text; a.b for a nested one")
    sample: Sample | None = Field(None, description="after `where`: a seeded sample of the rows")

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        exactly_one(self, "hub", "path", "generated")
        if self.hub and not (self.revision and self.splits):
            raise ValueError("a hub data set needs `revision` (a commit hash) and `splits`")
        return self


class Dataset(Source):
    """A data set to be split by a toxicity score into a toxic and a non-toxic part."""

    score: str = Field("toxicity", description="column with the score, 0..1")
    toxic_above: float = Field(0.8, ge=0, lt=1, description="toxic: score > this")
    nontoxic_below: float = Field(0.2, gt=0, le=1, description="non-toxic: score < this")
    nontoxic_share: float = Field(1.0, gt=0, le=1, description="share of the non-toxic part kept")
    nontoxic_seed: int = Field(42, ge=0, description="seed of that sample")


class Generation(Entry):
    """How continuations are sampled. Every value that decides on a token is explicit."""

    samples: int = Field(25, ge=1, description="K, continuations per prompt")
    new_tokens: int = Field(20, ge=1, description="tokens generated at most")
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus mass; 1 switches it off")
    top_k: int = Field(0, ge=0, description="0 switches it off")
    prefix: str = Field("", description="text put before every prompt")
    seed: int = Field(42, ge=0, description="seed of every continuation's own random numbers")
    batch_size: int = Field(32, ge=1, description="rows at a time", json_schema_extra=SPEED)


class Prompts(Source):
    """A prompt set and the generation protocol that belongs to it."""

    generate: Generation = Generation()


class Corpus(Source):
    """A text whose perplexity is measured in strided windows."""

    join: str = Field("\n\n", description="what stands between two rows")
    window_tokens: int | None = Field(
        None, ge=2, description="tokens a window holds; none: the model's context length"
    )
    stride_tokens: int = Field(512, ge=1, description="tokens between the starts of two windows")
    batch_size: int = Field(8, ge=1, description="windows at a time", json_schema_extra=SPEED)

    @model_validator(mode="after")
    def _stride_fits(self) -> "Corpus":
        if self.window_tokens and self.stride_tokens > self.window_tokens:
            raise ValueError("stride_tokens is larger than window_tokens: tokens would be skipped")
        return self


Precision = Annotated[
    Literal["float32", "bfloat16"],
    Field(description="bfloat16: autocast over fp32 master weights"),
]


class Recipe(Entry):
    """How one shard is fine-tuned: the full model, causal cross-entropy, no EOS appended."""

    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(1e-5, gt=0, lt=1)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup_share: float = Field(0.0, ge=0, lt=1, description="share of the steps, warm-up")
    optimizer: Literal["adamw_torch", "adafactor", "sgd"] = "adamw_torch"
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0, description="gradient clipping, L2")
    batch_size: int = Field(16, ge=1, description="texts per process and step")
    accumulation_steps: int = Field(1, ge=1, description="batches per optimizer step")
    max_tokens: int = Field(128, ge=2, description="longer texts are cut")
    group_by_length: bool = Field(True, description="batches of texts of similar length")
    precision: Precision = "float32"
    gradient_checkpointing: bool = False
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="time between checkpoints", json_schema_extra=SPEED
    )
    strategy: Literal["fsdp"] | None = Field(
        None, description="how several processes share the model", json_schema_extra=LATER
    )
    processes: int = Field(1, ge=1, description="in all, a GPU each", json_schema_extra=LATER)
    nodes: int = Field(1, ge=1, description="that hold the processes", json_schema_extra=SPEED)

    @model_validator(mode="after")
    def _shared_by_processes(self) -> "Recipe":
        if (self.processes > 1) != (self.strategy is not None):
            raise ValueError(
                "`processes` above 1 and `strategy: fsdp` go together; "
                f"has processes: {self.processes}, strategy: {self.strategy or 'none'}"
            )
        if self.processes % self.nodes:
            raise ValueError(
                f"`processes` must be a multiple of `nodes`; has {self.processes} and {self.nodes}"
            )
        if self.strategy and self.optimizer == "adafactor":
            raise ValueError("`strategy: fsdp` works with optimizer adamw_torch or sgd")
        return self


class Pretrain(Entry):
    """A small GPT-2-shaped base model with a byte-level BPE tokenizer of its own."""

    texts: list[Source] = Field(
        min_length=1, description="what it is trained on, one after another"
    )
    vocabulary: int = Field(4096, ge=300, description="BPE tokens")
    layers: int = Field(4, ge=1)
    width: int = Field(192, ge=8)
    heads: int = Field(4, ge=1)
    context: int = Field(128, ge=8, description="position embeddings, and tokens per row")
    steps: int = Field(1500, ge=1, description="optimizer steps")
    batch_size: int = Field(32, ge=1, description="rows of `context` tokens per step")
    learning_rate: float = Field(2e-3, gt=0, lt=1)
    warmup_share: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.1, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1, description="in the fine-tunes too: it is the model's")
    precision: Precision = "float32"
    seed: int = Field(42, ge=0)
    checkpoint_minutes: float = Field(5.0, ge=0, json_schema_extra=SPEED)


class Model(Entry):
    """A base model: a hub id, a local folder, or one that the workflow trains itself."""

    hub: str | None = Field(None, description="model id on the Hugging Face hub")
    revision: Revision | None = None
    path: str | None = Field(None, description="local folder; $VARIABLES are expanded")
    pretrain: Pretrain | None = None
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="weights when measured")

    @model_validator(mode="after")
    def _one_origin(self) -> "Model":
        exactly_one(self, "hub", "path", "pretrain")
        if self.hub and not self.revision:
            raise ValueError("a hub model needs `revision` (a commit hash)")
        return self


class Labelled(Source):
    """Texts with a toxicity score, to train or test a scorer on."""

    score: str = Field("toxicity", description="column with the score, 0..1")


class TrainScorer(Entry):
    """A small BERT classifier, saved in Detoxify's checkpoint format."""

    texts: list[Labelled] = Field(min_length=1, description="trained on")
    test: dict[str, Labelled] = Field(
        description="ROC AUC is measured on each, label: score >= 0.5"
    )
    vocabulary: int = Field(8000, ge=100, description="WordPiece tokens")
    layers: int = Field(2, ge=1)
    width: int = Field(128, ge=8)
    heads: int = Field(4, ge=1)
    max_tokens: int = Field(128, ge=8)
    epochs: int = Field(2, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(5e-4, gt=0, lt=1)
    seed: int = Field(42, ge=0)
    checkpoint_minutes: float = Field(5.0, ge=0, json_schema_extra=SPEED)

    @property
    def sources(self) -> list[Labelled]:
        """All texts, to train on and to test on."""
        return [*self.texts, *self.test.values()]


class Checkpoint(Entry):
    """A local checkpoint in Detoxify's format, with its tokenizer's folder."""

    file: str = Field(description=".ckpt; $VARIABLES are expanded")
    tokenizer: str = Field(description="folder with config.json and the tokenizer's files")


class Scorer(Entry):
    """What scores toxicity: a variant of Detoxify, a local checkpoint, or one trained here."""

    detoxify: Literal["original", "unbiased", "multilingual"] | None = None
    checkpoint: Checkpoint | None = None
    train: TrainScorer | None = None
    label: str = Field("toxicity", description="output of the scorer that is read")
    thresholds: list[float] = Field([0.2, 0.5, 0.8], description="shares of scores > these")
    any_above: float = Field(0.5, ge=0, lt=1, description="toxicity probability: any of K > this")
    batch_size: int = Field(64, ge=1, description="texts at a time", json_schema_extra=SPEED)

    @model_validator(mode="after")
    def _one_origin(self) -> "Scorer":
        exactly_one(self, "detoxify", "checkpoint", "train")
        return self
