"""A small BERT that this workflow trains itself, saved in Detoxify's checkpoint format."""

from pydantic import Field, model_validator

from ...plan.entries import SPEED, Entry, Labelled, Seed, require_heads
from ...plan.local import LocalPath
from . import checkpoint

RULE = "train_scorer"


class TrainScorer(Entry):
    """A small BERT classifier, saved in Detoxify's checkpoint format."""

    texts: list[Labelled] = Field(min_length=1, description="trained on")
    test: dict[str, Labelled] = Field(
        description="ROC AUC is measured on each, label: score >= 0.5"
    )
    vocabulary: int = Field(8000, ge=100, le=10**7, description="WordPiece tokens")
    layers: int = Field(2, ge=1, le=1000)
    width: int = Field(128, ge=8, le=10**5)
    heads: int = Field(4, ge=1)
    max_tokens: int = Field(128, ge=8, le=10**7)
    epochs: int = Field(2, ge=1, le=10**5)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(5e-4, gt=0, lt=1)
    seed: Seed = 42
    checkpoint_minutes: float = Field(5.0, ge=0, json_schema_extra=SPEED)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "TrainScorer":
        require_heads(self)
        return self


Value = TrainScorer
load = checkpoint.load


def local_paths(value: TrainScorer) -> list[LocalPath]:
    """The texts that it is trained and tested on."""
    sources = [*value.texts, *value.test.values()]
    return [path for source in sources for path in source.local_paths()]


def words(value: TrainScorer) -> str:
    """The texts that it is trained on."""
    texts = "; ".join(source.words() for source in value.texts)
    return f"a small BERT trained by the workflow on: {texts}"
