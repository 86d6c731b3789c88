"""The mean of N task vectors of fine-tunes made elsewhere, negated.

theta = theta_0 - scale * mean_i(theta_i - theta_0) over the first N of the model's `fine_tunes`:
full models, LoRA adapters or task vectors of this workflow. N = 1 is the first alone.
"""

# an operator may replace the mean, as in merge.py; nothing is trained, so there is no recipe

from pathlib import Path
from typing import Any

from pydantic import model_validator

from ...plan.at import At
from ...train.job import Job
from . import merge

KIND = "merge"
VERB = "delta"
LABEL = "merged task vectors of given fine-tunes"
REFERENCE = "Kim et al., COLM 2024"
VERSION = 2
USES = ()
MERGES = "n"


class _Given(merge.MergeParams):
    @model_validator(mode="after")
    def _has_weights(self) -> "_Given":
        if self.operator == "weighted" and getattr(self, "weights", None) is None:
            raise ValueError(
                "operator weighted needs `weights`, as the numbers of texts are unknown"
            )
        return self


Params = merge.merge_params("mean", _Given)
operator_of = merge.operator_of


def params_of(values: dict[str, Any]) -> type[merge.MergeParams]:
    """As in `merge`, without a recipe."""
    return merge.params_of(values, _Given)


def single_of(params: merge.MergeParams) -> merge.MergeParams:
    """As in `merge`: the first fine-tune alone."""
    return merge.single_of(params, Params)


def inputs(params: merge.MergeParams, at: At) -> list[str]:
    """The base and its first N fine-tunes."""
    return [at.base(), *(at.given_finetune(index) for index in range(params.n))]


def build(inputs: list[Path], params: merge.MergeParams, job: Job) -> dict[str, Any]:
    """Merge straight from the files of the fine-tunes."""
    from ...merge.made_elsewhere import loaded_base, open_given
    from ...merge.merging import merge_vectors
    from ...merge.side_by_side import side_by_side
    from ...models.places import place_in

    base, given = loaded_base(inputs[0]), inputs[1:]
    excluded = base.excluded(params.exclude)
    opened = [open_given(place_in(path, "place"), base, excluded) for path in given]
    vectors = side_by_side(opened, excluded, base=base.weights, keys=given)
    tensors = merge_vectors(
        vectors, params.operator, job.out / "delta.safetensors", params, lines=params.lines
    )
    return {"sign": -1, "tensors": tensors}
