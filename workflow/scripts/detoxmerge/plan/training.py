"""The entries of the config that say how a model is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .entries import LATER, SPEED, Entry, Seed, Source, require_heads

Precision = Annotated[
    Literal["float32", "bfloat16"],
    Field(description="bfloat16: autocast over fp32 master weights"),
]


def _require_decay(entry: "Recipe | Pretrain") -> None:
    """Raise ValueError if a step would take more than the whole of a weight away."""
    if entry.weight_decay * entry.learning_rate >= 1:
        raise ValueError(
            f"weight_decay {entry.weight_decay:g} times learning_rate {entry.learning_rate:g} must "
            "be below 1, as each step takes this share of a weight away; lower one"
        )


class Recipe(Entry):
    """How one shard is fine-tuned: the full model, causal cross-entropy, no EOS appended."""

    epochs: int = Field(5, ge=1, le=10**5)
    learning_rate: float = Field(1e-5, gt=0, lt=1)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup_share: float = Field(0.0, ge=0, lt=1, description="share of the steps, warm-up")
    optimizer: Literal["adamw_torch", "adafactor", "sgd"] = "adamw_torch"
    weight_decay: float = Field(0.0, ge=0, description="times learning_rate: below 1")
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
    def _decays(self) -> "Recipe":
        _require_decay(self)
        return self

    @model_validator(mode="after")
    def _warms_up(self) -> "Recipe":
        if self.schedule == "constant" and self.warmup_share:
            raise ValueError(
                f"`schedule: constant` has no warm-up, and warmup_share is {self.warmup_share:g}; "
                "leave it out, or take linear or cosine"
            )
        return self

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
    vocabulary: int = Field(4096, ge=300, le=10**7, description="BPE tokens")
    layers: int = Field(4, ge=1, le=1000)
    width: int = Field(192, ge=8, le=10**5)
    heads: int = Field(4, ge=1)
    context: int = Field(128, ge=8, le=10**7, description="position embeddings, and tokens per row")
    steps: int = Field(1500, ge=1, le=10**8, description="optimizer steps")
    batch_size: int = Field(32, ge=1, description="rows of `context` tokens per step")
    learning_rate: float = Field(2e-3, gt=0, lt=1)
    warmup_share: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.1, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1, description="in the fine-tunes too: it is the model's")
    precision: Precision = "float32"
    seed: Seed = 42
    checkpoint_minutes: float = Field(5.0, ge=0, json_schema_extra=SPEED)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "Pretrain":
        require_heads(self)
        _require_decay(self)
        return self
