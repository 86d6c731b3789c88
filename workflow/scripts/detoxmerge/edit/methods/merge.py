"""The mean of the N task vectors, negated: theta = theta_0 - scale * mean_i(theta_i - theta_0).

N = 1 is the single task vector of Ilharco et al. (ICLR 2023, arXiv 2212.04089), N > 1 the merged
one of Kim et al. (COLM 2024, openreview.net/forum?id=TBNYjdOazs).
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

KIND = "merge"
LABEL = "merged task vectors"
REFERENCE = "Kim et al., COLM 2024"
VERSION = 1
USES = ("dataset", "seed")


class Params(BaseModel, extra="forbid", strict=True):
    """What the config entry may say."""

    n: int = Field(ge=1, description="number of shards; 1 is the single task vector")
    operator: Literal["mean"] = Field("mean", description="how the N vectors become one")
    recipe: str = Field("default", description="fine-tuning recipe of the catalogue")


def inputs(params: Params, at: Any) -> list[str]:
    """The manifests of the N fine-tunes of this model, data set and seed.

    Args:
        params: this method's parameters.
        at: where the edit stands (`plan.grid.At`).

    Returns:
        N paths of `meta.json`; each has its `delta.safetensors` beside it.
    """
    return [at.shard(params.recipe, params.n, shard) for shard in range(params.n)]


def build(inputs: list[Path], params: Params, out: Path) -> dict[str, Any]:
    """Write the merged vector.

    Args:
        inputs: the N manifests.
        params: this method's parameters.
        out: folder of the edit; gets `delta.safetensors`, fp32.

    Returns:
        The edit's verb and fields: `theta = theta_0 + sign * scale * delta`.

    Raises:
        UserError: the shards do not fit together, or one holds NaN or infinity.
    """
    from ..merging import merge_deltas

    deltas = [path.with_name("delta.safetensors") for path in inputs]
    tensors = merge_deltas(deltas, params.operator, out / "delta.safetensors")
    return {"verb": "delta", "sign": -1, "tensors": tensors}
