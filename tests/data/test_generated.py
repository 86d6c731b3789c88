"""The embedded generator: deterministic, extendable, labelled, and free of duplicates."""

import subprocess
import sys
from pathlib import Path

import pytest

from detoxmerge.data.generated import KINDS, comments, prompts

ROWS = 1500
LIBRARY = Path(__file__).parents[2] / "workflow/scripts"


@pytest.fixture(scope="module")
def many():
    return comments(ROWS, 2)


@pytest.fixture(scope="module")
def openings():
    return prompts(ROWS, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_rows_in_any_process(kind):
    code = f"from detoxmerge.data.generated import {kind} as f; print(f(20, 5))"
    env = {"PYTHONPATH": str(LIBRARY), "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == str(KINDS[kind](20, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_gives_other_rows(kind):
    first, other = ([row["text"] for row in KINDS[kind](20, seed)] for seed in (5, 6))
    assert first != other


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 7, 99])
def test_fewer_rows_are_the_beginning_of_more(kind, rows):
    assert KINDS[kind](rows, 5) == KINDS[kind](100, 5)[:rows]


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_at_all_is_refused(kind):
    with pytest.raises(ValueError, match="at least 1"):
        KINDS[kind](0, 1)


def test_comments_are_distinct(many):
    assert len({row["text"] for row in many}) == ROWS


def test_prompts_are_distinct(openings):
    assert len({row["text"] for row in openings}) == ROWS


def test_comments_have_8_to_40_words_and_every_field(many):
    assert {tuple(row) for row in many} == {("text", "toxicity", "topic", "tone")}
    assert all(8 <= len(row["text"].split()) <= 40 for row in many)
    assert not any("{" in row["text"] or "}" in row["text"] for row in many)
    assert not any("_" in row["text"] or "  " in row["text"] for row in many)


def test_thresholds_of_the_config_split_comments_by_their_tone(many):
    rude = {row["tone"] for row in many if row["toxicity"] > 0.8}
    between = {row["tone"] for row in many if 0.2 <= row["toxicity"] <= 0.8}
    polite = {row["tone"] for row in many if row["toxicity"] < 0.2}
    assert (rude, between, polite) == ({"rude"}, {"grumpy"}, {"polite"})


def test_a_third_of_the_comments_is_rude(many):
    share = sum(row["tone"] == "rude" for row in many) / ROWS
    assert 0.3 < share < 0.4


def test_scores_lie_in_0_to_1(many, openings):
    assert all(0 <= row["toxicity"] <= 1 for row in many + openings)


def test_prompts_are_beginnings_of_3_to_9_words(openings):
    assert all(3 <= len(row["text"].split()) <= 9 for row in openings)
    assert not any(row["text"].endswith((".", "!", ",")) for row in openings)
    assert all(row["toxicity"] < 0.5 for row in openings)


def test_no_prompt_is_a_comment_of_the_same_or_another_seed(many, openings):
    texts = {row["text"] for row in many + comments(200, 3)}
    assert not texts & {row["text"] for row in openings}


def test_every_topic_occurs_in_every_tone(many):
    topics = {row["topic"] for row in many}
    assert len(topics) == 14
    for tone in ("polite", "rude"):
        assert {row["topic"] for row in many if row["tone"] == tone} == topics
