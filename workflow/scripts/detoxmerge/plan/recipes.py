"""Recipes that a method cannot use if it trains in one process."""

from collections.abc import Iterator
from typing import Any

from .config import Config


def refuse_several_processes(params: Any, config: Config) -> Iterator[str]:
    """`refusals` of a method that trains in one process, or is made from an edit that does.

    Args:
        params: of the method; they name a `recipe`.
    """
    if strategy := config.recipes[params.recipe].strategy:
        yield (
            f"recipe '{params.recipe}' shares the model by `strategy: {strategy}`, and this method "
            "trains in one process; name a recipe without `strategy`"
        )
