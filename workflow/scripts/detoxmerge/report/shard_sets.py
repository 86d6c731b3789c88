"""The sets of fine-tunes that shard statistics were measured of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..storage.artefacts import read_json


def each_set(shards: list[Path]) -> Iterator[tuple[dict[str, Any], Any]]:
    """The measured sets of fine-tunes.

    Args:
        shards: `shards.json` of one model.

    Yields:
        `set` (data set, recipe), `n` and `seed`; the content of the manifest.
    """
    for content in map(read_json, shards):
        of = content["shards"]
        at = {"set": name_of_set(of["dataset"], of["recipe"]), "n": of["n"], "seed": of["seed"]}
        yield at, content


def name_of_set(dataset: str, recipe: str) -> str:
    """The data set, and the recipe where it is not the default one."""
    return dataset if recipe == "default" else f"{dataset} (recipe={recipe})"
