"""Prompt sets that differ in nothing but the seed of their continuations."""

import pytest
from plan.studies import load_config, prompts, refusal, study

from detoxmerge.plan.seeds import generation_groups

SETS = {
    "prompts.first": prompts(where={"a": 1, "b": 2}, generate={"samples": 2}),
    "prompts.other": prompts(where={"a": 1, "b": 2}, generate={"samples": 3, "seed": 3}),
    "prompts.second": prompts(where={"b": 2, "a": 1}, generate={"samples": 2, "seed": 1}),
    "prompts.third": prompts(
        where={"a": 1, "b": 2}, generate={"samples": 2, "seed": 2, "batch_size": 5}
    ),
}


def sweep(*names: str) -> dict[str, object]:
    """Changes of a study that sweeps these prompt sets."""
    return SETS | {"run.sweep.prompts": list(names)}


def groups(*names: str) -> dict[str, list[str]]:
    """Of a study that sweeps these prompt sets."""
    return generation_groups(load_config(study(sweep(*names))))


def test_sets_that_differ_in_the_seed_are_one_group_in_the_order_of_the_stage() -> None:
    seeds = ["third", "first", "second"]
    assert groups("third", "first", "other", "second") == {
        **dict.fromkeys(seeds, seeds),
        "other": ["other"],
    }
    assert groups("first") == {"first": ["first"]}  # others of the catalogue are not measured


@pytest.mark.parametrize("change", [{"sample": {"rows": 2, "seed": 1}}, {"text": "other"}])
def test_another_text_is_another_group(change: dict[str, object]) -> None:
    changes = sweep("first", "second") | {"prompts.second": SETS["prompts.first"] | change}
    found = generation_groups(load_config(study(changes)))
    assert found == {"first": ["first"], "second": ["second"]}


def test_sets_of_two_stages_are_no_group() -> None:
    changes = sweep("openings") | {
        "prompts.openings": prompts(part="validation"),
        "prompts.first": prompts(part="test"),
        "prompts.second": prompts(part="test", generate={"seed": 1}),
        "corpora.polite": study()["corpora"]["polite"] | {"part": "validation"},
        "corpora.other": study()["corpora"]["polite"] | {"part": "test"},
        "selectors.one": {"rule": "fixed", "scale": 1.0},
        "run.selectors": ["one"],
        "run.final": {
            "prompts": ["first", "second"], "corpora": ["other"], "scorers": ["judge"],
        },
    }  # fmt: skip
    both = ["first", "second"]
    assert generation_groups(load_config(study(changes))) == {
        "openings": ["openings"],
        **dict.fromkeys(both, both),
    }


def test_the_same_seed_twice_is_refused() -> None:
    """It would count as a second seed, and make the spread look smaller than it is."""
    changes = sweep("first", "second") | {"prompts.second": SETS["prompts.first"]}
    assert refusal(changes) == (
        "run.sweep.prompts: 'first' and 'second' are the same prompts, continued with the same "
        "generate.seed 42; give one another seed"
    )
