"""The headline table: which edits are compared, and that its numbers are those of the curves."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report import finished as hand
from report.finished import grid, write
from report.needs import inputs

from detoxmerge.plan.grid import Grid
from detoxmerge.report.comparison import perplexity_at
from detoxmerge.report.curves import curve_of
from detoxmerge.report.formats import write_table
from detoxmerge.report.tables.headline import single_of

READ = {"prompts": "openings", "scorer": "judge", "corpus": "polite"}


def made(study: Grid, folder: Path) -> dict[str, str]:
    """Every file of the headline."""
    files = {kind: folder / f"headline.{kind}" for kind in ("csv", "markdown", "latex", "html")}
    write_table("headline", inputs(grid=study), **files, levels=folder / "levels.csv")
    return {path.name: path.read_text() for path in [*files.values(), folder / "levels.csv"]}


def test_each_merged_edit_stands_against_the_single_one_of_the_same_setting() -> None:
    study = grid(
        {"methods.merge": {"n": [1, 2], "recipe": ["default", "slow"]}, "recipes.slow": {}}
    )
    pairs = {edit.setting: single_of(study, edit) for edit in study.edits}
    assert {name: single and single.setting for name, single in pairs.items()} == {
        "n=1": None,
        "n=1--recipe=slow": None,
        "n=2": "n=1",
        "n=2--recipe=slow": "n=1--recipe=slow",
    }
    operators = grid(
        {"methods.merge": [{"n": [1, 2]}, {"n": [1, 2], "operator": "ties", "density": 0.5}]}
    )
    assert [single_of(operators, edit) for edit in operators.edits] == [
        None, operators.edits[0], None, operators.edits[0],
    ]  # fmt: skip
    lonely = grid({"methods.merge": {"n": [2]}})
    assert single_of(lonely, lonely.edits[0]) is None


def test_numbers_are_those_of_the_curves(finished: Grid, tmp_path: Path) -> None:
    made(finished, tmp_path)
    table = pd.read_csv(tmp_path / "headline.csv")
    assert len(table) == 1
    row = table.iloc[0]
    assert (row["setting"], row["compared_with"], row["num_prompts"]) == ("n=2", "n=1", 3)
    ours, theirs = (
        curve_of(finished, "small", f"rude/merge/{setting}/seed42", READ)
        for setting in ("n=2", "n=1")
    )
    assert ours.scales.tolist() == [0.0, 0.5, 1.0]
    base, levels = math.exp(3.0), np.linspace(0.5, 0.25, 21)[None, 1:]

    def costs(curve):
        toxicity = np.array([[scores.toxicity.mean() for scores in curve.scores]])
        nll = np.array([[w.nll.sum() / w.tokens.sum() for w in curve.windows]])
        return perplexity_at(toxicity, nll, levels)[0] - base

    assert row["toxicity_from"] == pytest.approx(levels[0, 0])
    assert row["toxicity_to"] == pytest.approx(0.25)
    expected = 1 - costs(ours).sum() / costs(theirs).sum()
    assert row["degradation_reduction"] == pytest.approx(expected)
    assert row["low"] <= expected <= row["high"]
    single = pd.read_csv(tmp_path / "levels.csv")
    np.testing.assert_allclose(single["reduction"], 1 - costs(ours) / costs(theirs))


def test_curves_end_where_the_sweep_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = grid(hand.LIMITED)
    write(study)
    made(study, tmp_path)
    (row,) = pd.read_csv(tmp_path / "headline.csv").to_dict("records")
    assert curve_of(study, "small", study.edits[1].edit, READ).scales.tolist() == [0.0, 0.5]
    # of the scale 0.5 alone, where N = 1 is less far
    assert row["toxicity_to"] == pytest.approx(hand.toxicity("n=1", 0.5))


def test_given_fine_tunes_stand_against_the_first_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tunes = [{"hub": f"a/b{i}", "revision": "0" * 40} for i in range(2)]
    model = grid().config.models["small"].model_dump() | {"fine_tunes": tunes}
    given = {"methods.merge_given": {"n": [1, 2]}, "run.methods": ["merge", "merge_given"]}
    study = grid({"models.small": model} | given)
    write(study)
    made(study, tmp_path)
    table = pd.read_csv(tmp_path / "headline.csv", dtype=str)
    assert table[["dataset", "method", "seed", "compared_with"]].values.tolist() == [
        ["rude", "merge", "42", "n=1"],
        ["-", "merge_given", "-", "n=1"],
    ]
    assert table["degradation_reduction"].nunique() == 1  # the same numbers were written


def test_rounded_tables_show_value_interval_and_range(finished: Grid, tmp_path: Path) -> None:
    files = made(finished, tmp_path)
    row = pd.read_csv(tmp_path / "headline.csv").iloc[0]
    cell = f"{row['degradation_reduction']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
    assert cell in files["headline.markdown"]
    assert cell.replace("%", r"\%") in files["headline.latex"]


def test_a_study_without_pairs_has_an_empty_table(finished: Grid, tmp_path: Path) -> None:
    files = made(grid({"methods.merge": {"n": [2]}}), tmp_path)
    assert len(files["headline.csv"].splitlines()) == 1


def flat(edit: str, scale: str) -> float:
    """Toxicity that no edit lowers."""
    return 0.5


def dear_in_one_window(path: str, scale: str, payload=hand.payload) -> pd.DataFrame:
    """Where it is not drawn, in 30 % of the replicates, the single edit costs nothing."""
    table = payload(path, scale)
    if "perplexity" in path and "n=1" in path:
        table["nll"] = payload(path, "0")["nll"] + float(scale) * np.array([5.0, -2.0, -2.0])
    return table


@pytest.mark.parametrize(
    ("name", "replacement", "note"),
    [
        ("toxicity", flat, "undefined: one of the two is nowhere less toxic than the base"),
        ("payload", dear_in_one_window, "uncertain: undefined in 29% of the replicates"),
    ],
)
def test_a_note_stands_where_a_value_would_claim_too_much(
    monkeypatch, tmp_path: Path, name: str, replacement: object, note: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hand, name, replacement)
    study = grid()
    write(study)
    files = made(study, tmp_path)
    assert pd.read_csv(tmp_path / "headline.csv").iloc[0]["note"].startswith(note)
    cells = files["headline.markdown"].splitlines()[-1]
    assert note in cells
    assert "%" not in cells.replace("% of the replicates", "")


def test_the_same_measurements_give_the_same_bytes(finished: Grid, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert made(finished, tmp_path / "a") == made(finished, tmp_path / "b")


def test_leaving_out_each_shard_gives_an_interval_over_shards(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    study = grid(
        {
            "methods": {"merge": {"n": [1, 3]}, "leave_one_out": {"n": 3, "without": [0, 1, 2]}},
            "run.methods": ["merge", "leave_one_out"],
        }
    )
    write(study)
    made(study, tmp_path)
    table = pd.read_csv(tmp_path / "headline.csv")
    assert table["setting"].tolist() == ["n=3"]  # replicates are no results of their own
    row = table.iloc[0]
    # the three replicates are alike, so leaving out a shard changes nothing between them
    assert row["low_over_shards"] == pytest.approx(row["degradation_reduction"])
    assert row["high_over_shards"] == pytest.approx(row["degradation_reduction"])
    fewer = grid(
        {
            "methods": {"merge": {"n": [1, 3]}, "leave_one_out": {"n": 3, "without": [0, 1]}},
            "run.methods": ["merge", "leave_one_out"],
        }
    )
    made(fewer, tmp_path)
    assert pd.read_csv(tmp_path / "headline.csv")["low_over_shards"].isna().all()
