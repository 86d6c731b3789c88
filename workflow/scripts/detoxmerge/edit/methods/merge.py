"""The mean of the N task vectors, negated: theta = theta_0 - scale * mean_i(theta_i - theta_0).

N = 1 is the single task vector of Ilharco et al. (ICLR 2023, arXiv 2212.04089), N > 1 the merged
one of Kim et al. (COLM 2024, openreview.net/forum?id=TBNYjdOazs).
"""

# Any file of merge/operators may replace the mean; a model card then has its docstring.
# The class of the parameters depends on the operator; with `operator: ties` the fields are
#     n, operator,  density,  lines_alpha, lines_beta, exclude,  recipe

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    create_model,
    field_validator,
    model_validator,
)

from ...errors import nearest
from ...plan.at import At
from ...plan.entries import LATER, Entry, Names
from ...plan.recipes import WithRecipe
from ...plan.registry import OPERATORS
from ...train.job import Job

KIND = "merge"
VERB = "delta"
LABEL = "merged task vectors"
REFERENCE = "Kim et al., COLM 2024"
VERSION = 1
USES = ("dataset", "seed")
MERGES = "n"
RECIPE = "recipe"


class _First(Entry):
    n: int = Field(ge=1, le=10_000, description="number of shards; 1 is the single task vector")
    operator: str = Field("mean", description="how the N vectors become one")

    @field_validator("operator")
    @classmethod
    def _exists(cls, operator: str) -> str:
        if operator not in OPERATORS:
            raise ValueError(f"'{operator}' is not among operators; {nearest(operator, OPERATORS)}")
        return operator

    @model_validator(mode="after")
    def _fits_n(self) -> "_First":
        getattr(OPERATORS[self.operator], "check", lambda params, n: None)(self, self.n)
        return self


class MergeParams(_First):
    """The parameters of a merge, whatever the operator, whose own come before those here."""

    lines_alpha: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description="LiNeS: factor of the first block, and outside of the blocks; null: no factors",
        json_schema_extra=LATER,
    )
    lines_beta: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description="LiNeS: by how much the last block's factor is higher; null: 1 - alpha",
        json_schema_extra=LATER,
    )
    exclude: Annotated[Names, AfterValidator(lambda names: sorted(set(names)))] = Field(
        [],
        description="parts of names of tensors that are not edited; a list in the list: together",
        json_schema_extra=LATER,
    )

    @model_validator(mode="after")
    def _has_an_alpha(self) -> "MergeParams":
        if self.lines_beta is not None and self.lines_alpha is None:
            raise ValueError("lines_beta needs lines_alpha")
        return self

    @property
    def lines(self) -> tuple[float, float | None] | None:
        """Alpha and beta of LiNeS; null: no factors."""
        return None if self.lines_alpha is None else (self.lines_alpha, self.lines_beta)


P = TypeVar("P", bound=MergeParams)


class _WithRecipe(WithRecipe, MergeParams):
    """The recipe comes last."""


@cache
def merge_params(operator: str, base: type[P]) -> type[P]:
    """The parameters of a method that merges by this operator, always the same class.

    Args:
        operator: a name in `plan.registry.OPERATORS`.
        base: has the fields of the method alone, which come last.
    """
    # pydantic puts the fields of the last base first, so `_First` is named again
    bases: tuple[Any, ...] = (base, OPERATORS[operator].Params, _First)
    return create_model("Params", __base__=bases)


class _Unknown(MergeParams, extra="ignore"):
    """For an operator that does not exist: the only error is that it does not."""


Params = merge_params("mean", _WithRecipe)


def params_of(values: dict[str, Any], base: type[MergeParams] = _WithRecipe) -> type[MergeParams]:
    """The class for an entry, by its operator; `base` as in `merge_params`."""
    operator = values.get("operator", "mean")
    if not isinstance(operator, str):
        return merge_params("mean", base)
    return merge_params(operator, base) if operator in OPERATORS else _Unknown


def operator_of(params: MergeParams) -> ModuleType | None:
    """The operator's module; None for the mean, which this module describes."""
    return None if params.operator == "mean" else OPERATORS[params.operator]


def single_of(params: MergeParams, mean: type[MergeParams] = Params) -> MergeParams:
    """N = 1 and the mean, with the same values of the parameters that all operators have.

    Args:
        params: with any n and operator.
        mean: the class of the mean's parameters.
    """
    return mean(n=1, **params.model_dump(include=set(mean.model_fields) - {"n", "operator"}))


def inputs(params: _WithRecipe, at: At) -> list[str]:
    """The N fine-tunes of this model, data set and seed."""
    return [at.shard(params.recipe, params.n, shard) for shard in range(params.n)]


def build(inputs: list[Path], params: MergeParams, job: Job) -> dict[str, Any]:
    """Write the merged vector; the sign is -1, as toxicity is subtracted."""
    from ...merge.merging import merge_deltas
    from ...storage.artefacts import certified, read_json

    tensors = merge_deltas(
        [certified(path, "delta.safetensors") for path in inputs],
        params.operator,
        job.out / "delta.safetensors",
        params,
        num_texts=[read_json(path).get("num_texts") for path in inputs],
        exclude=params.exclude,
        lines=params.lines,
    )
    return {"sign": -1, "tensors": tensors}
