"""What a study builds: its edits, and the fine-tunes that they are made from, as plain values."""

from dataclasses import dataclass

from pydantic import BaseModel


@dataclass(frozen=True)
class Edit:
    """One edit of the study. `setting` and `seed` are as in its path; `-` where not used."""

    model: str
    dataset: str
    method: str
    setting: str
    seed: str
    params: BaseModel

    @property
    def edit(self) -> str:
        """The `{edit}` wildcard."""
        return f"{self.dataset}/{self.method}/{self.setting}/seed{self.seed}"


@dataclass(frozen=True)
class ShardSet:
    """The N fine-tunes of one data set, recipe and seed; fills `Paths.shard_statistics`."""

    model: str
    dataset: str
    recipe: str
    n: int
    seed: str


@dataclass(frozen=True)
class FineTune(ShardSet):
    """One of the N; fills `Paths.shard` and its neighbours."""

    shard: int

    @property
    def shards(self) -> ShardSet:
        """The set that it belongs to."""
        return ShardSet(self.model, self.dataset, self.recipe, self.n, self.seed)
