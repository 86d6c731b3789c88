"""The figures: what each shows of a small study, and that the same data give the same bytes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from report.frames import limited, summary

from detoxmerge.report.drawing import draw_figure
from detoxmerge.report.figures import perplexity, toxicity
from detoxmerge.report.inputs import Inputs
from detoxmerge.report.names import variant as variant_of
from detoxmerge.report.over_scale_and_n import measured


def data(metric, **study):
    return measured(summary(**study), "small", metric)


def drawn(figure, table):
    drawing = figure.draw(table)
    assert isinstance(drawing, Figure)
    for axis in drawing.axes:
        assert axis.get_xlabel()
        assert axis.get_ylabel()
        assert axis.get_legend() is not None
    return drawing


def labels(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def bands(axis):
    return [c for c in axis.collections if isinstance(c, PolyCollection)]


def test_measured_is_mean_and_range_over_the_seeds():
    table = data("toxicity_mean")
    row = table[(table["dataset"] == "rude") & (table["n"] == 4) & (table["scale"] == 0.5)]
    (row,) = row.itertuples()
    values = [0.2 * (1 - 0.4 * 0.5 + 0.02 * seed) for seed in (1, 2)]
    assert row.mean == pytest.approx(np.mean(values))
    assert (row.low, row.high) == pytest.approx((min(values), max(values)))
    assert row.num_seeds == 2
    base = table[table["dataset"].isna()]
    assert base["mean"].tolist() == [0.2]


def test_measured_keeps_models_and_metrics_apart():
    frame = summary()
    other = frame.assign(model="large", value=frame["value"] + 1)
    both = pd.concat([frame, other], ignore_index=True)
    table = measured(both, "small", "toxicity_mean")
    pd.testing.assert_frame_equal(table, data("toxicity_mean"))


@pytest.mark.parametrize(
    ("setting", "variant"),
    [
        ("n=4", ""),
        ("default", ""),
        (None, ""),
        ("n=4--recipe=small", "recipe=small"),
        ("n=4--operator=mean--recipe=small", "operator=mean--recipe=small"),
    ],
)
def test_variant_is_the_setting_without_its_n(setting, variant):
    assert variant_of(setting) == variant


@pytest.mark.parametrize(
    ("figure", "metric", "quantity"),
    [
        (toxicity, "toxicity_mean", "Mean toxicity of continuations (0–1)"),
        (perplexity, "perplexity_per_token", "Perplexity per token"),
    ],
)
def test_figure_over_scale_and_n_has_a_row_per_data_set(figure, metric, quantity):
    drawing = drawn(figure, data(metric))
    assert len(drawing.axes) == 4
    assert {axis.get_ylabel() for axis in drawing.axes} == {quantity}
    for title, (left, right) in zip(
        ("mean", "rude"), (drawing.axes[:2], drawing.axes[2:]), strict=True
    ):
        assert left.get_title(loc="left").startswith(f"{title}, merge, on ")
        assert left.get_xlabel() == "Scale λ of the subtracted vector"
        assert labels(left) == ["N = 1", "N = 4", "base model"]
        assert right.get_xlabel() == "Number of merged shards N"
        assert labels(right) == ["scale 0.5", "scale 1", "base model"]
        assert [tick.get_text() for tick in right.get_xticklabels()] == ["1", "4"]


def test_lines_show_the_means_and_the_base_is_level():
    table = data("toxicity_mean", datasets=("rude",))
    left, right = drawn(toxicity, table).axes
    for axis, by, values in ((left, "n", (1, 4)), (right, "scale", (0.5, 1.0))):
        for line, value in zip(axis.get_lines(), values, strict=False):
            curve = table[table["dataset"].notna() & (table[by] == value)]
            assert line.get_ydata().tolist() == curve["mean"].tolist()
        assert set(axis.get_lines()[-1].get_ydata()) == {0.2}


def test_range_over_seeds_is_a_band_and_one_seed_has_none():
    several = drawn(toxicity, data("toxicity_mean"))
    single = drawn(toxicity, data("toxicity_mean", seeds=("1",)))
    assert [len(bands(axis)) for axis in several.axes] == [2] * 4
    assert [len(bands(axis)) for axis in single.axes] == [0] * 4


def test_scale_that_was_left_out_for_a_seed_has_no_toxicity_and_its_perplexity():
    frame = limited(summary(datasets=("rude",), ns=(1, 4)), "2")
    gone = {"toxicity_mean": 1.0, "perplexity_per_token": None}
    for metric, scale in gone.items():
        table = measured(frame, "small", metric)
        edits = table[table["n"] == 4]
        assert edits["mean"].isna().tolist() == [scale == value for value in edits["scale"]]
        assert edits["low"].isna().tolist() == edits["mean"].isna().tolist()
    left = drawn(toxicity, measured(frame, "small", "toxicity_mean")).axes[0]
    assert np.isnan(left.get_lines()[0].get_ydata()).tolist() == [False, True]


def test_missing_perplexity_leaves_a_gap_and_draws_the_rest():
    drawing = drawn(perplexity, data("perplexity_per_token", datasets=("rude",)))
    first = drawing.axes[0].get_lines()[0].get_ydata()
    assert np.isnan(first).tolist() == [False, True]
    assert np.isfinite(drawing.axes[0].get_lines()[1].get_ydata()).all()


def test_missing_perplexity_of_the_base_is_drawn_without_it():
    frame = summary(datasets=("rude",))
    frame.loc[frame["dataset"].isna() & frame["scorer"].isna(), "value"] = np.nan
    table = measured(frame, "small", "perplexity_per_token")
    assert len(drawn(perplexity, table).axes) == 2


def test_variants_prompt_sets_and_scorers_get_rows_of_their_own():
    frame = summary(datasets=("rude",), seeds=("1",))
    other = summary(datasets=("rude",), seeds=("1",), suffix="--recipe=small")
    both = pd.concat([frame, other[other["dataset"].notna()]], ignore_index=True)
    scored = both.assign(scorer=both["scorer"].replace("judge", "second"))
    table = pd.concat([both, scored[scored["scorer"].notna()]], ignore_index=True)
    drawing = drawn(toxicity, measured(table, "small", "toxicity_mean"))
    titles = [axis.get_title(loc="left") for axis in drawing.axes[::2]]
    assert sorted(titles) == [
        "rude, merge (recipe=small), on openings, scored by judge",
        "rude, merge (recipe=small), on openings, scored by second",
        "rude, merge, on openings, scored by judge",
        "rude, merge, on openings, scored by second",
    ]


def test_many_scales_do_not_crowd_the_axis():
    table = data("toxicity_mean", datasets=("rude",), seeds=("1",), scales=tuple(range(1, 21)))
    left, _ = drawn(toxicity, table).axes
    assert len(left.get_xticks()) < 20


def test_a_figure_is_three_files_and_the_same_data_give_the_same_bytes(tmp_path):
    summary(datasets=("rude",)).to_parquet(tmp_path / "summary.parquet")
    needed = Inputs({"summary": [tmp_path / "summary.parquet"]}, "small")
    written = []
    for name in ("a", "b"):
        files = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "pdf", "csv")}
        draw_figure("toxicity", needed, **files)
        written.append({kind: path.read_bytes() for kind, path in files.items()})
    assert written[0] == written[1]
    assert written[0]["png"].startswith(b"\x89PNG")
    assert written[0]["pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in written[0]["pdf"]
    assert len(pd.read_csv(tmp_path / "a.csv")) == len(toxicity.table(needed))
    assert plt.get_fignums() == []
