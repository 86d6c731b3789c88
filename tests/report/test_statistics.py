"""Intervals, and how many prompts one needs."""

import numpy as np
import pandas as pd
import pytest
from report.curves import curve
from scipy import stats

from detoxmerge.measure.metrics import metrics_of
from detoxmerge.measure.payloads import Scores, Windows
from detoxmerge.plan.config import Statistics
from detoxmerge.report.comparison import Curve
from detoxmerge.report.intervals import Bootstrap
from detoxmerge.report.statistics import jackknife, percentile_interval, prompts_needed, resamples
from detoxmerge.report.tables.headline import _prompts


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(5).gamma(2.0, size=80)
    weights = resamples(4000, len(values), 6)
    ours = percentile_interval(values.mean(), weights @ values / weights.sum(axis=1))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=7)
    bounds = theirs.confidence_interval
    assert ours.low == pytest.approx(bounds.low, abs=0.03)
    assert ours.high == pytest.approx(bounds.high, abs=0.03)


def test_too_many_undefined_replicates_give_no_interval() -> None:
    replicates = np.linspace(0, 1, 100)
    replicates[:4] = np.nan
    interval = percentile_interval(0.5, replicates)
    assert interval.undefined_share == pytest.approx(0.04)
    assert interval.low > 0
    replicates[:6] = np.nan
    assert np.isnan(percentile_interval(0.5, replicates).low)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    without_one = np.array([np.delete(values, i).mean() for i in range(4)])
    interval = jackknife(values.mean(), without_one)
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert interval.high - interval.value == pytest.approx(half)
    assert np.isnan(jackknife(1.0, np.array([1.0, 2.0])).low)


def test_one_prompt_tells_nothing_of_the_spread() -> None:
    assert prompts_needed(np.array([0.3]), 0.02) is None
    bootstrap = Bootstrap(Statistics())
    scores = Scores(pd.DataFrame({"prompt": [0, 0], "toxicity": [0.2, 0.6]}))
    windows = Windows(pd.DataFrame({"nll": [10.0], "tokens": [4]}))
    cutoffs = {"thresholds": [0.5], "any_above": 0.5}
    measured = [(metric, scores) for metric in metrics_of("toxicity", cutoffs)]
    measured += [(metric, windows) for metric in metrics_of("perplexity", {})]
    for metric, payload in measured:
        interval = bootstrap.interval(bootstrap.draw(metric, payload))
        assert np.isfinite(interval.value)
        assert np.isnan([interval.low, interval.high]).all()


def test_a_prompt_without_a_score_is_no_prompt_of_toxicity_0() -> None:
    def edit(*toxicity: float) -> Curve:
        scores = np.repeat(np.array(toxicity)[None, :, None], 5, axis=2)
        return curve(np.ones(1), scores, np.ones((1, 1)), np.ones(1))

    prompts = _prompts(edit(0.6, 0.6, np.nan, 0.6), edit(0.4, 0.4, 0.4, 0.4))
    assert prompts["num_prompts"] == 4
    assert list(prompts.values())[1] == 0  # the others all differ by 0.2


def test_the_prompts_that_are_needed_suffice() -> None:
    random = np.random.default_rng(9)
    needed = prompts_needed(random.normal(0, 0.3, 500), half_width=0.02)
    values = random.normal(0, 0.3, needed)
    weights = resamples(2000, needed, 10)
    interval = percentile_interval(values.mean(), weights @ values / needed)
    assert interval.high - interval.low == pytest.approx(0.04, rel=0.15)
