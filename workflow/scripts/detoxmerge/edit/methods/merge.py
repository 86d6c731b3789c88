"""The mean of the N task vectors, negated: theta = theta_0 - scale * mean_i(theta_i - theta_0).

N = 1 is the single task vector of Ilharco et al. (ICLR 2023, arXiv 2212.04089), N > 1 the merged
one of Kim et al. (COLM 2024, openreview.net/forum?id=TBNYjdOazs).
"""

# any file of merge/operators may stand in place of the mean; a model card has its docstring then

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    create_model,
    field_validator,
    model_validator,
)

from ...errors import nearest
from ...plan.entries import LATER, Entry, Names
from ...plan.recipes import WithRecipe
from ...plan.registry import OPERATORS

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


class _Common(Entry):
    lines_alpha: float | None = Field(
        None,
        ge=0,
        description="LiNeS: factor of the first block, and of what is in none; none: no factors",
        json_schema_extra=LATER,
    )
    lines_beta: float | None = Field(
        None,
        ge=0,
        description="LiNeS: what the last block's factor has more; none: 1 - alpha",
        json_schema_extra=LATER,
    )
    exclude: Annotated[Names, AfterValidator(lambda names: sorted(set(names)))] = Field(
        [],
        description="parts of names of tensors that are not edited; a list in the list: together",
        json_schema_extra=LATER,
    )

    @model_validator(mode="after")
    def _has_an_alpha(self) -> "_Common":
        if self.lines_beta is not None and self.lines_alpha is None:
            raise ValueError("lines_beta needs lines_alpha")
        return self

    @property
    def lines(self) -> tuple[float, float | None] | None:
        """Alpha and beta of LiNeS; none: no factors."""
        return None if self.lines_alpha is None else (self.lines_alpha, self.lines_beta)


@cache
def merge_params(operator: str, *last: type[BaseModel]) -> type[BaseModel]:
    """The parameters of a method that merges: an operator's own stand between those of all.

    Args:
        operator: a name in `plan.registry.OPERATORS`.
        last: what the method itself has.

    Returns:
        The class, always the same one.
    """
    return create_model("Params", __base__=(*last, _Common, OPERATORS[operator].Params, _First))


class _Unknown(merge_params("mean"), extra="ignore"):  # type: ignore[misc]
    """Of an operator that does not exist: says just that."""


Params = merge_params("mean", WithRecipe)


def params_of(
    values: dict[str, Any], last: tuple[type[BaseModel], ...] = (WithRecipe,)
) -> type[BaseModel]:
    """What the config entry may say, which depends on its operator.

    Args:
        values: of the entry, unchecked.
        last: what the method itself has.

    Returns:
        The class for them.
    """
    operator = values.get("operator", "mean")
    if not isinstance(operator, str):
        return merge_params("mean", *last)
    return merge_params(operator, *last) if operator in OPERATORS else _Unknown


def operator_of(params: BaseModel) -> ModuleType | None:
    """The module of the operator, whose docstring, REFERENCE and VERSION hold for an edit.

    Returns:
        None for the mean, for which this module's hold.
    """
    return None if params.operator == "mean" else OPERATORS[params.operator]


def single_of(params: BaseModel, mean: type[BaseModel] = Params) -> BaseModel:
    """The parameters of the single task vector that a merged one is compared with.

    Args:
        params: with any n and operator.
        mean: the class of the mean's parameters.

    Returns:
        n = 1 and the mean, of which every N is one; the other parameters of all operators stay.
    """
    return mean(n=1, **params.model_dump(include=set(mean.model_fields) - {"n", "operator"}))


def inputs(params: BaseModel, at: Any) -> list[str]:
    """The manifests of the N fine-tunes of this model, data set and seed.

    Args:
        params: this method's parameters.
        at: where the edit stands (`plan.at.At`).

    Returns:
        N paths of `meta.json`; each has its `delta.safetensors` beside it.
    """
    return [at.shard(params.recipe, params.n, shard) for shard in range(params.n)]


def build(inputs: list[Path], params: BaseModel, job: Any) -> dict[str, Any]:
    """Write the merged vector.

    Args:
        inputs: the N manifests.
        params: this method's parameters.
        job: `train.job.Job`; its folder gets `delta.safetensors`, fp32.

    Returns:
        The edit's verb and fields: `theta = theta_0 + sign * scale * delta`.

    Raises:
        UserError: the shards do not fit together, or one holds NaN or infinity; the operator
            refuses them.
    """
    from ...merge.merging import merge_deltas
    from ...storage.artefacts import read_json

    tensors = merge_deltas(
        [path.with_name("delta.safetensors") for path in inputs],
        params.operator,
        job.out / "delta.safetensors",
        params,
        num_texts=[read_json(path).get("num_texts") for path in inputs],
        exclude=params.exclude,
        lines=params.lines,
    )
    return {"sign": -1, "tensors": tensors}
