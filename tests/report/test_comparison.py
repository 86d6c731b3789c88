"""The headline quantity, step by step; the whole of it is in test_known_truth."""

import numpy as np
import pytest
from report.curves import curve, measured

from detoxmerge.measure.payloads import Scores
from detoxmerge.report.comparison import (
    Curve,
    compare,
    degradation_reduction,
    falls_beyond_chance,
    means,
    perplexity_at,
)

SCALES = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
TOXICITY = 0.5 - 0.15 * SCALES
CHEAP, DEAR = (3.0 + cost * SCALES**2 for cost in (0.05, 0.15))  # nats per token


def pair(study: int, *nlls: np.ndarray) -> list[Curve]:
    """Edits with the same true toxicity and these true NLLs, measured in one study."""
    return measured(study, SCALES, *((TOXICITY, nll) for nll in nlls))


def test_pairing_narrows_the_interval() -> None:
    """Difficulty of prompts and windows is shared: it must cancel."""
    merged, single = pair(1, CHEAP, DEAR)
    other = pair(2, CHEAP, DEAR)[1]
    paired = compare(merged, single, seed=1, replicates=400).overall
    mixed = compare(merged, other, seed=1, replicates=400).overall
    assert paired.high - paired.low < 0.5 * (mixed.high - mixed.low)


def test_perplexity_at_a_level_by_hand() -> None:
    toxicity, nll = np.array([[0.5, 0.3, 0.4, 0.1]]), np.log([[10.0, 20.0, 30.0, 80.0]])
    result = perplexity_at(toxicity, nll, np.array([[0.6, 0.5, 0.4, 0.3, 0.2, 0.05]]))
    # above the base: the base; 0.4 is reached half-way to the first scale, not at the second;
    # 0.2 two thirds of the way from the third to the fourth; 0.05 nowhere
    expected = [10, 10, 200**0.5, 20, 30 * (80 / 30) ** (2 / 3), np.nan]
    np.testing.assert_allclose(result[0], expected)


def test_reduction_at_a_level_is_the_published_formula() -> None:
    toxicity = np.array([[0.4, 0.2]])
    ours, theirs = np.log([[10.0, 16.0]]), np.log([[10.0, 40.0]])
    level = np.array([[0.2]])
    at_level, overall = degradation_reduction((toxicity, ours), (toxicity, theirs), level)
    assert at_level[0, 0] == pytest.approx(1 - 6 / 30)
    assert overall[0] == pytest.approx(1 - 6 / 30)


def test_curves_that_do_not_overlap_have_no_value() -> None:
    merged, single = pair(3, CHEAP, DEAR)
    raised = [
        Scores(scores.payload.assign(toxicity=scores.toxicity + scale))
        for scores, scale in zip(single.scores, SCALES, strict=True)
    ]
    useless = single._replace(scores=raised)
    result = compare(merged, useless, seed=1, replicates=50)
    assert np.isnan(result.overall.value)
    assert np.isnan(result.overall.low)
    assert result.overall.undefined_share == 1


def test_a_single_edit_that_costs_nothing_leaves_nothing_to_be_reduced() -> None:
    merged, single = pair(4, CHEAP, 3.0 - 0.01 * SCALES)
    assert np.isnan(compare(merged, single, seed=1, replicates=50).overall.value)


@pytest.mark.parametrize(("fall", "at_least", "at_most"), [(0.0, 0, 13), (0.2, 200, 200)])
def test_the_lowest_of_many_scales_is_below_the_base_by_chance(
    fall: float, at_least: int, at_most: int
) -> None:
    """Of 200 studies with 20 scales 2.5 % may take it for a fall; 13 are one in 1,000."""
    random, passed = np.random.default_rng(2), 0
    true = 0.5 - fall * (np.arange(21) > 0)
    for _ in range(200):
        data = true + 0.02 * random.standard_normal((1, 21))
        passed += falls_beyond_chance(data, data + 0.02 * random.standard_normal((400, 21)))
    assert at_least <= passed <= at_most


def test_missing_scores_count_for_nothing() -> None:
    scores = np.full((1, 3, 4), np.nan)  # of one scale, three prompts, four samples
    scores[0, 0], scores[0, 1, 2] = 0.5, 0.5
    made = curve(np.zeros(1), scores, np.array([[6.0, 2.0]]), np.array([3.0, 1.0]))
    toxicity, nll = means(made, np.ones((1, 3)), np.ones((1, 2)))
    assert toxicity[0, 0] == pytest.approx(0.5)
    assert nll[0, 0] == pytest.approx(2.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    curves = pair(8, CHEAP, DEAR)
    assert compare(*curves, seed=1, replicates=50).overall == (
        compare(*curves, seed=1, replicates=50).overall
    )
    assert compare(*curves, seed=1, replicates=50).overall != (
        compare(*curves, seed=2, replicates=50).overall
    )
