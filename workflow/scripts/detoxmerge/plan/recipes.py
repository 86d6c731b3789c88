"""Recipes that a method which trains in one process cannot take."""

from collections.abc import Iterator
from typing import Any

from .config import Config


def refuse_several_processes(params: Any, config: Config) -> Iterator[str]:
    """`refusals` of a method that trains in one process, or is made from an edit that does.

    Args:
        params: of the method, with a `recipe`.
        config: the parsed config.

    Yields:
        A sentence, if the recipe asks for more.
    """
    if strategy := config.recipes[params.recipe].strategy:
        yield (
            f"recipe '{params.recipe}' shares the model by `strategy: {strategy}`, and this method "
            "trains in one process; name a recipe without `strategy`"
        )
