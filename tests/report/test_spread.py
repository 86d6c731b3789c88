"""The table of seeds: its numbers by hand, and what may be taken together."""

import math
from itertools import product

import pandas as pd
import pytest
from plan.studies import prompts, study
from report.frames import summary

from detoxmerge.report.formats import write_table
from detoxmerge.report.inputs import Inputs
from detoxmerge.report.summary import COLUMNS
from detoxmerge.report.tables.seeds import spread, spread_table

VALUES = {("1", "a"): 0.1, ("1", "b"): 0.2, ("1", "c"): 0.3}
VALUES |= {("2", "a"): 0.3, ("2", "b"): 0.4, ("2", "c"): 0.8}
GROUPS = {name: ["a", "b", "c"] for name in "abc"} | {"other": ["other"]}
MODEL = {"model": "small", "dataset": None, "method": "base", "setting": None, "seed": None}
EDIT = MODEL | {"dataset": "rude", "method": "merge", "setting": "n=4"}
TOXICITY = {"scorer": "judge", "metric": "toxicity_mean", "scale": 0.5}


def cells(values):
    """A row per training seed and prompt set."""
    rows = [{"seed": t, "measured_on": g, "value": x} for (t, g), x in values.items()]
    return pd.DataFrame(rows)


def frame(rows, *, stage="sweep"):
    """A summary of these rows."""
    return pd.DataFrame([{"stage": stage} | row for row in rows], columns=COLUMNS)


def measured(values=VALUES, **more):
    """Mean toxicity of an edit with N = 4 at scale 0.5, or as `more` says."""
    return [
        EDIT | TOXICITY | {"seed": seed, "measured_on": name, "value": value} | more
        for (seed, name), value in values.items()
    ]


def table(rows, *, fronts=(), **how):
    return spread_table(frame(rows, **how), GROUPS, fronts)


def test_two_training_seeds_and_three_generation_seeds():
    """Means 0.2 and 0.5; squares within them 0.02 and 0.14, on two degrees of freedom each."""
    assert spread(cells(VALUES)) == pytest.approx(
        {
            "num_training_seeds": 2,
            "num_generation_seeds": 3,
            "num_missing": 0,
            "mean": 0.35,
            "sd_training_seeds": 0.15 * math.sqrt(2),
            "sd_generation_seeds": math.sqrt(0.16 / 4),
            "min": 0.1,
            "max": 0.8,
        }
    )


def test_a_missing_value_is_counted_and_enters_nothing():
    """Without the 0.8 the second mean is 0.35, and its squares 0.005 on one degree of freedom."""
    result = spread(cells(VALUES | {("2", "c"): None}))
    assert result["num_missing"] == 1
    assert (result["num_training_seeds"], result["num_generation_seeds"]) == (2, 3)
    assert result["mean"] == pytest.approx((0.2 + 0.35) / 2)
    assert result["sd_training_seeds"] == pytest.approx(0.15 / math.sqrt(2))
    assert result["sd_generation_seeds"] == pytest.approx(math.sqrt(0.025 / 3))
    assert result["max"] == 0.4


def test_a_training_seed_without_any_value_is_none():
    result = spread(cells(VALUES | dict.fromkeys([("2", name) for name in "abc"])))
    assert (result["num_training_seeds"], result["num_missing"]) == (1, 3)
    assert result["mean"] == pytest.approx(0.2)
    assert math.isnan(result["sd_training_seeds"])
    assert result["sd_generation_seeds"] == pytest.approx(0.1)


def test_one_seed_has_no_spread_and_not_a_spread_of_zero():
    result = spread(cells({("1", "a"): 0.1}))
    assert (result["mean"], result["min"], result["max"]) == (0.1, 0.1, 0.1)
    assert math.isnan(result["sd_training_seeds"])
    assert math.isnan(result["sd_generation_seeds"])
    of_training = spread(cells({("1", "a"): 0.1, ("2", "a"): 0.3}))
    assert of_training["sd_training_seeds"] == pytest.approx(0.1 * math.sqrt(2))
    assert math.isnan(of_training["sd_generation_seeds"])


def test_nothing_measured_has_no_numbers():
    result = spread(cells({("1", "a"): None}))
    assert (result["num_training_seeds"], result["num_missing"]) == (0, 1)
    assert all(math.isnan(result[name]) for name in ("mean", "sd_training_seeds", "min", "max"))


def test_groups_scorers_metrics_and_edits_are_kept_apart():
    others = [
        measured({("1", "other"): 0.9, ("2", "other"): 0.7}),
        measured(scorer="second"),
        measured(metric="expected_max_toxicity"),
        measured(setting="n=1"),
    ]
    result = table(measured() + [row for rows in others for row in rows])
    assert result["measured_on"].value_counts().to_dict() == {"a, b, c": 4, "other": 1}
    group = result[result["measured_on"] == "a, b, c"]
    assert group["mean"].tolist() == pytest.approx([0.35] * 4)
    alone = result[result["measured_on"] == "other"].iloc[0]
    assert alone["mean"] == pytest.approx(0.8)
    assert alone["num_generation_seeds"] == 1


def test_rows_of_one_metric_stand_together_the_base_first():
    metrics = ("toxicity_mean", "toxicity_probability_any_above_0.5", "dist_2")
    rows = [edit | {"metric": metric} for edit, metric in product([*measured(), *base()], metrics)]
    result = table(rows[::-1])
    assert result["metric"].tolist() == [metrics[1]] * 2 + [metrics[0]] * 2  # dist_2 is not shown
    assert result["method"].tolist() == ["base", "merge"] * 2


def base():
    """Of the base model, which has no training seed."""
    values = {(None, "a"): 0.5, (None, "b"): 0.7}
    return measured(values, **MODEL | {"scale": 0.0})


def test_what_has_no_such_seed_has_no_count_of_it():
    corpus = measured(
        {("1", "polite"): 20.0, ("2", "polite"): 22.0}, metric="perplexity_per_token", scorer=None
    )
    of_base, of_edit = table([*base(), *corpus]).to_dict("records")
    assert pd.isna(of_base["num_training_seeds"])
    assert of_base["num_generation_seeds"] == 2
    assert of_base["sd_generation_seeds"] == pytest.approx(0.1 * math.sqrt(2))
    assert pd.isna(of_base["sd_training_seeds"])
    assert pd.isna(of_edit["num_generation_seeds"])
    assert pd.isna(of_edit["sd_generation_seeds"])
    assert (of_edit["num_training_seeds"], of_edit["mean"]) == (2, 21.0)
    (untrained,) = table(measured({("-", "a"): 0.5})).to_dict("records")
    assert pd.isna(untrained["num_training_seeds"])


def test_a_sweep_has_a_row_per_scale():
    result = table([*measured(), *measured(scale=1.0)])
    assert result["scale_min"].tolist() == result["scale_max"].tolist() == [0.5, 1.0]
    assert result["num_training_seeds"].tolist() == [2, 2]


def final():
    """A rule that chose 0.5 for seed 1 and 1 for seed 2, and nothing for seed 3."""
    result = [
        row | {"selector": "budget", "scale": 0.5 if row["seed"] == "1" else 1.0}
        for row in measured()
    ]
    none = {"stage": "selection", "selector": "budget", "metric": "selected_scale"}
    return [*base(), *result, EDIT | none | {"seed": "3"}]


def test_a_rule_may_choose_another_scale_for_each_training_seed_or_none():
    _, result = table(final(), stage="final").to_dict("records")
    assert (result["scale_min"], result["scale_max"]) == (0.5, 1.0)
    assert (result["num_training_seeds"], result["num_missing"]) == (2, 3)  # of three cells each
    assert result["mean"] == pytest.approx(0.35)


def test_a_rule_that_nothing_satisfies_is_a_row_without_numbers():
    rows = [row for row in final() if row["seed"] in (None, "3")]
    _, result = table(rows, stage="final").to_dict("records")
    assert (result["selector"], result["num_training_seeds"]) == ("budget", 0)
    assert pd.isna(result["mean"])
    assert pd.isna(result["scale_min"])


def test_a_front_has_a_row_per_scale():
    front = [row | {"selector": "front"} for row in [*measured(), *measured(scale=1.0)]]
    result = table([*base(), *front], stage="final", fronts=["front"])
    assert result["scale_min"].tolist() == result["scale_max"].tolist() == [0.0, 0.5, 1.0]


def test_files_are_rounded_and_the_same_each_time(tmp_path):
    second = {"prompts.again": prompts(generate={"seed": 1})}
    config = study(second | {"run.sweep.prompts": ["openings", "again"]})
    rows = summary(datasets=("rude",), ns=(1,), scales=(0.5,))
    more = rows[rows["measured_on"] == "openings"].assign(measured_on="again")
    more["value"] += 0.02
    pd.concat([rows, more]).to_parquet(tmp_path / "summary.parquet")
    read = []
    for _ in range(2):
        files = {
            "csv": tmp_path / "seeds.csv",
            "markdown": tmp_path / "seeds.md",
            "latex": tmp_path / "seeds.tex",
            "html": tmp_path / "seeds.html",
        }
        needed = Inputs({"summary": [tmp_path / "summary.parquet"]}, config=config)
        write_table("seeds", needed, **files)
        read.append([file.read_bytes() for file in files.values()])
    assert read[0] == read[1]
    lines = files["markdown"].read_text().splitlines()
    assert lines[3] == (
        "| toxicity_mean | openings, again | judge | small | rude | merge | n=1 | 0.5 | 2 | 2 | 0 "
        "| 0.176 | 0.002828 | 0.01414 | 0.164 | 0.188 |"
    )
    assert lines[2].endswith("| 0 | - | 2 | 0 | 0.21 | - | 0.01414 | 0.2 | 0.22 |")
    again = pd.read_csv(files["csv"])
    assert len(again) == len(lines) - 2 == 4
    assert again["num_generation_seeds"].tolist()[:2] == [2, 2]
