"""The mean of N - 1 of the N task vectors, negated: how much a result depends on one shard.

theta = theta_0 - scale * 1/(N-1) sum_{i != without} (theta_i - theta_0). With all N of them the
headline table has a jackknife interval over shards (Tukey 1958). No figure shows these edits.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ...plan.at import At
from ...plan.entries import Entry
from ...plan.recipes import RecipeName
from ...train.job import Job

KIND = "merge"
VERB = "delta"
LABEL = "merged task vectors without one shard"
REFERENCE = "Tukey, Annals of Mathematical Statistics 29, 1958"
VERSION = 1
USES = ("dataset", "seed")
MERGES = "n"
RECIPE = "recipe"
REPLICATE_OF = "merge"  # its edits are no results of their own
LEAVES_OUT = "without"


class Params(Entry):
    """For a jackknife, list 0 .. n-1 for `without`."""

    n: int = Field(ge=3, le=10_000, description="number of shards")
    without: int = Field(ge=0, description="the shard that is left out")
    operator: Literal["mean"] = Field("mean", description="how the N - 1 vectors become one")
    recipe: RecipeName = "default"

    @model_validator(mode="after")
    def _one_of_them(self) -> "Params":
        if self.without >= self.n:
            raise ValueError(f"without: {self.without} is not among the shards 0..{self.n - 1}")
        return self


def inputs(params: Params, at: At) -> list[str]:
    """The other N - 1 fine-tunes."""
    kept = [shard for shard in range(params.n) if shard != params.without]
    return [at.shard(params.recipe, params.n, shard) for shard in kept]


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """As `merge` does with N - 1 fine-tunes."""
    from . import merge

    return merge.build(inputs, merge.Params(n=len(inputs), recipe=params.recipe), job)
