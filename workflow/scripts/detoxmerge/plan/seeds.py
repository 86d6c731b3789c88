"""Generation seeds: which prompt sets are one measurement, repeated with other random numbers."""

import json

from .catalogue import Prompts
from .config import Config
from .entries import protocol


def generation_groups(config: Config) -> dict[str, list[str]]:
    """Prompt sets of a stage that are the same but for `generate.seed`.

    Returns:
        Prompt set -> those of its stage with the same texts and the same sampling, itself among
        them, in the order of the stage. What decides nothing but speed may differ.
    """
    groups = [group for stage in config.run.stages for group in groups_of_stage(config, stage)]
    return {alias: group for group in groups for alias in group}


def repeats(config: Config) -> list[str]:
    """Prompt sets that only repeat another of their stage with another seed: all but the first."""
    return [alias for alias, group in generation_groups(config).items() if alias != group[0]]


def groups_of_stage(config: Config, stage: str) -> list[list[str]]:
    """The groups of one stage (``sweep`` or ``final``), each in the order of the stage."""
    groups: dict[str, list[str]] = {}
    for alias in config.run.stages[stage].prompts:
        groups.setdefault(_but_for_seed(config.prompts[alias]), []).append(alias)
    return list(groups.values())


def _but_for_seed(entry: Prompts) -> str:
    """What decides its numbers, except the seed, as text."""
    sampling = protocol(entry.generate, without=("seed",))
    return json.dumps([protocol(entry, without=("generate",)), sampling], sort_keys=True)
