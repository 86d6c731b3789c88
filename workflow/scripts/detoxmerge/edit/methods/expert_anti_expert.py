"""An expert minus an anti-expert: theta = theta_0 + scale * (W+ - alpha W-).

W+ is the task vector of the fine-tune on non-toxic texts (method finetune_nontoxic), W- the mean of
the task vectors of N fine-tunes on toxic ones. The plain `subtraction` that Hu et al. (AAAI 2024,
arXiv 2308.08090) compare Ext-Sub with, on whole models in place of adapters. The scale stretches
the whole vector: 0 is the base, 1 their edit; alpha, which they set to 1, is a parameter.
"""

# with alpha as the dial, the expert would be there at 0, and 0 would not be the base

from pathlib import Path
from typing import Any

from pydantic import Field

from ...plan.at import At
from ...plan.entries import Entry
from ...plan.recipes import RecipeName, refuse_several_processes
from ...train.job import Job

KIND = "merge"
VERB = "delta"
LABEL = "expert minus anti-expert"
REFERENCE = "Hu et al., AAAI 2024"
VERSION = 1
USES = ("dataset", "seed")
RECIPE = "recipe"

refusals = refuse_several_processes


class Params(Entry):
    alpha: float = Field(1.0, ge=0, le=1e6, description="how much of the anti-expert is subtracted")
    num_shards: int = Field(
        1, ge=1, le=10_000, description="toxic fine-tunes whose mean vector is the anti-expert"
    )
    recipe: RecipeName = Field(
        "default",
        description="fine-tuning recipe of the catalogue, of the expert and of the shards",
    )


def inputs(params: Params, at: At) -> list[str]:
    """The base, the expert, and the N toxic fine-tunes."""
    expert = at.edit("finetune_nontoxic", {"recipe": params.recipe})
    n = params.num_shards
    shards = [at.shard(params.recipe, n, shard) for shard in range(n)]
    return [at.base(), expert, *shards]


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """Write W+ - alpha W- as `delta.safetensors`."""
    from ...merge.contrast import subtract
    from ...storage.artefacts import certified

    expert, *shards = (certified(path, "delta.safetensors") for path in inputs[1:])
    tensors = subtract(expert, shards, params.alpha, job.out / "delta.safetensors")
    return {"sign": 1, "tensors": tensors}
