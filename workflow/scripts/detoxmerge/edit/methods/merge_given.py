"""The mean of N task vectors of fine-tunes made elsewhere, negated.

theta = theta_0 - scale * mean_i(theta_i - theta_0) over the first N of the model's `shards`: full
models, LoRA adapters or task vectors of this workflow. N = 1 is the first alone.
"""

# operators stand in place of the mean as in merge.py; nothing is trained, so there is no recipe

from pathlib import Path
from typing import Any

from pydantic import BaseModel, model_validator

from ...plan.entries import Entry
from . import merge

KIND = "merge"
VERB = "delta"
LABEL = "merged task vectors of given fine-tunes"
REFERENCE = "Kim et al., COLM 2024"
VERSION = 1
USES = ()
MERGES = "n"


class _Given(Entry):
    @model_validator(mode="after")
    def _has_weights(self) -> "_Given":
        if self.operator == "weighted" and self.weights is None:
            raise ValueError("operator weighted needs `weights`: no one knows the numbers of texts")
        return self


Params = merge.merge_params("mean", _Given)
operator_of = merge.operator_of


def params_of(values: dict[str, Any]) -> type[BaseModel]:
    """What the config entry may say: as of `merge`, without a recipe.

    Args:
        values: of the entry, unchecked.

    Returns:
        The class for them.
    """
    return merge.params_of(values, (_Given,))


def single_of(params: BaseModel) -> BaseModel:
    """The parameters of the single task vector: the first fine-tune alone, as of `merge`.

    Args:
        params: with any n and operator.

    Returns:
        n = 1 and the mean; the other parameters of all operators stay.
    """
    return merge.single_of(params, Params)


def inputs(params: BaseModel, at: Any) -> list[str]:
    """The manifests of the base model and of its first N fine-tunes.

    Args:
        params: this method's parameters.
        at: where the edit stands (`plan.at.At`).

    Returns:
        1 + N paths; each says where its weights are.
    """
    return [at.base(), *(at.given(shard) for shard in range(params.n))]


def build(inputs: list[Path], params: BaseModel, job: Any) -> dict[str, Any]:
    """Write the merged vector, straight from the files of the fine-tunes.

    Args:
        inputs: the manifests of the base and of the N fine-tunes.
        params: this method's parameters.
        job: `train.job.Job`; its folder gets `delta.safetensors`, fp32.

    Returns:
        The edit's verb and fields, as of `merge`.

    Raises:
        UserError: a fine-tune is gone or broken, does not belong to the base, or holds NaN or
            infinity; the operator refuses them.
    """
    from ...merge.made_elsewhere import open_base, open_given
    from ...merge.merging import merge_shards
    from ...merge.side_by_side import side_by_side
    from ...storage.artefacts import read_json

    base, given = open_base(inputs[0]), inputs[1:]
    vectors = [open_given(read_json(path)["place"], base) for path in given]
    shards = side_by_side(vectors, params.exclude, base=base, keys=given)
    tensors = merge_shards(
        shards, params.operator, job.out / "delta.safetensors", params, lines=params.lines
    )
    return {"sign": -1, "tensors": tensors}
