"""The parameter of a method that names a fine-tuning recipe, and what such a method refuses."""

from collections.abc import Iterator
from typing import Annotated, Protocol

from pydantic import Field

from .config import Config
from .entries import Entry, alias_of

RecipeName = Annotated[
    str,
    Field(description="fine-tuning recipe of the catalogue", json_schema_extra=alias_of("recipes")),
]


class WithRecipe(Entry):
    """Parameters with a recipe, before those of the subclass; elsewhere use `RecipeName`.

    The order of the fields is the order in the setting's path.
    """

    recipe: RecipeName = "default"


class _HasRecipe(Protocol):
    recipe: str


def refuse_several_processes(params: _HasRecipe, config: Config) -> Iterator[str]:
    """For a method's `refusals`: a sentence if its recipe spreads a training over processes."""
    if strategy := config.recipes[params.recipe].strategy:
        yield (
            f"recipe '{params.recipe}' shares the model by `strategy: {strategy}`, and this method "
            "trains in one process; name a recipe without `strategy`"
        )
