"""The mean of N - 1 of the N task vectors, negated: how much a result hangs on one shard.

theta = theta_0 - scale * 1/(N-1) sum_{i != without} (theta_i - theta_0). With all N of them the
headline table has a jackknife interval over shards (Tukey 1958). No figure shows these edits.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ...plan.entries import Entry
from ...plan.recipes import RecipeName

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
    """What the config entry may say; list 0 .. n-1 for `without`."""

    n: int = Field(ge=3, le=10_000, description="number of shards")
    without: int = Field(ge=0, description="the shard that is left out")
    operator: Literal["mean"] = Field("mean", description="how the N - 1 vectors become one")
    recipe: RecipeName = "default"

    @model_validator(mode="after")
    def _one_of_them(self) -> "Params":
        if self.without >= self.n:
            raise ValueError(f"without: {self.without} is none of the shards 0..{self.n - 1}")
        return self


def inputs(params: Params, at: Any) -> list[str]:
    """The manifests of the other N - 1 fine-tunes.

    Args:
        params: this method's parameters.
        at: where the edit stands (`plan.at.At`).

    Returns:
        N - 1 paths of `meta.json`; each has its `delta.safetensors` beside it.
    """
    kept = [shard for shard in range(params.n) if shard != params.without]
    return [at.shard(params.recipe, params.n, shard) for shard in kept]


def build(inputs: list[Path], params: Params, job: Any) -> dict[str, Any]:
    """Write the merged vector.

    Args:
        inputs: the N - 1 manifests.
        params: this method's parameters.
        job: `train.job.Job`; its folder gets `delta.safetensors`, fp32.

    Returns:
        The edit's verb and fields, as of `merge`.

    Raises:
        UserError: the shards do not fit together, or one holds NaN or infinity.
    """
    from . import merge

    return merge.build(inputs, merge.Params(n=len(inputs), recipe=params.recipe), job)
