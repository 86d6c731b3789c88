"""The sets of fine-tunes whose shards were compared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..storage.artefacts import read_json


def each_set(shards: list[Path]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Of each `shards.json` the columns `set` (data set, recipe), `n` and `seed`; its content."""
    for content in map(read_json, shards):
        tunes = content["shards"]
        name = name_of_set(tunes["dataset"], tunes["recipe"])
        yield {"set": name, "n": tunes["n"], "seed": tunes["seed"]}, content


def name_of_set(dataset: str, recipe: str) -> str:
    """The data set, and the recipe unless it is the default one."""
    return dataset if recipe == "default" else f"{dataset} (recipe={recipe})"
