"""Generation seeds: which prompt sets are one measurement, repeated with other random numbers."""

import json
from collections.abc import Iterator

from . import config as schema
from .catalogue import Prompts
from .entries import protocol


def generation_groups(config: "schema.Config") -> dict[str, list[str]]:
    """Prompt sets of a stage that are the same but for `generate.seed`.

    Args:
        config: the parsed config; every prompt set of `run` stands in the catalogue.

    Returns:
        Prompt set -> those of its stage with the same texts and the same sampling, itself among
        them, in the order of the stage. What decides nothing but speed may differ.
    """
    groups = [group for stage in config.run.stages for group in _groups(config, stage)]
    return {alias: group for group in groups for alias in group}


def repeats(config: "schema.Config") -> list[str]:
    """Prompt sets that only repeat another of their stage with another seed.

    Args:
        config: as above.

    Returns:
        All of each group but its first.
    """
    return [alias for alias, group in generation_groups(config).items() if alias != group[0]]


def repeated_generations(config: "schema.Config") -> Iterator[str]:
    """Prompt sets of a stage that would give the same continuations twice.

    Args:
        config: as above.

    Yields:
        One sentence per pair.
    """
    for stage in config.run.stages:
        for group in _groups(config, stage):
            first: dict[int, str] = {}
            for alias in group:
                seed = config.prompts[alias].generate.seed
                if first.setdefault(seed, alias) != alias:
                    yield (
                        f"run.{stage}.prompts: '{first[seed]}' and '{alias}' are the same prompts, "
                        f"continued with the same generate.seed {seed}; give one another seed"
                    )


def _groups(config: "schema.Config", stage: str) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for alias in config.run.stages[stage].prompts:
        found.setdefault(_but_for_seed(config.prompts[alias]), []).append(alias)
    return list(found.values())


def _but_for_seed(entry: Prompts) -> str:
    """What decides its numbers, less the seed, as text."""
    sampling = protocol(entry.generate, without=("seed",))
    return json.dumps([protocol(entry, without=("generate",)), sampling], sort_keys=True)
