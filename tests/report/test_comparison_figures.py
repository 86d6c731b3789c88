"""The figures that compare edits: what they show, also where there is nothing to compare."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from report.frames import limited, summary
from report.needs import inputs

from detoxmerge.report.figures import degradation_reduction, trade_off
from detoxmerge.report.figures.trade_off import LEAST_TOP


def points(frame: pd.DataFrame, model: str) -> pd.DataFrame:
    return trade_off.table(inputs(summary=frame, model=model))


def levels(values: list[float]) -> pd.DataFrame:
    """Reduction of one edit at some levels of toxicity."""
    columns = {"dataset": "rude", "method": "merge", "setting": "n=4", "n": 4, "seed": "1"}
    columns |= {"prompts": "openings", "scorer": "judge", "corpus": "polite"}
    rows = [columns | {"toxicity": t, "reduction": 0.4, "low": 0.2, "high": np.nan} for t in values]
    return pd.DataFrame(rows)


def test_a_study_without_pairs_has_a_figure_that_says_so() -> None:
    for empty in (pd.DataFrame(columns=["model"]), levels([0.1])[:0]):
        figure = degradation_reduction.draw(empty)
        assert "no edit with N > 1" in figure.axes[0].texts[0].get_text()


def test_a_line_per_n_and_a_curve_that_nowhere_overlaps() -> None:
    figure = degradation_reduction.draw(levels([0.2, 0.1]))
    assert figure.axes[0].get_legend_handles_labels()[1] == ["N = 4"]
    figure = degradation_reduction.draw(levels([0.2, 0.1]).assign(reduction=np.nan))
    assert "undefined" in figure.axes[0].texts[0].get_text()


def test_a_merged_edit_that_costs_less_than_nothing_is_seen() -> None:
    figure = degradation_reduction.draw(levels([0.2, 0.1]).assign(reduction=1.2))
    assert figure.axes[0].get_ylim()[1] > 1.2


def test_trade_off_has_a_panel_per_data_set_and_a_line_per_n() -> None:
    data = points(summary(), "small")
    assert set(data["n"].dropna()) == {1, 4}
    assert len(data[data["method"] == "base"]) == 1
    figure = trade_off.draw(data)
    assert len(figure.axes) == 2
    assert figure.axes[0].get_legend_handles_labels()[1] == ["N = 1", "N = 4"]
    figure = trade_off.draw(
        data.replace({"corpus": {"polite": "wikitext-103-v1-validation-short"}})
    )
    figure.draw_without_rendering()
    for axis in figure.axes:  # a name as long as they are is not cut
        assert "wikitext" in axis.get_ylabel()
        columns = axis.yaxis.label.get_window_extent()
        assert columns.y0 >= 0
        assert columns.y1 <= figure.bbox.y1


def edges(axis: Axes) -> list[Line2D]:
    """Triangles without a line."""
    kinds = ("^", "None")
    return [line for line in axis.lines if (line.get_marker(), line.get_linestyle()) == kinds]


def test_a_collapse_is_shown_at_the_edge_and_hides_nothing() -> None:
    frame = summary(seeds=("1",))
    edits = (frame["method"] == "merge") & (frame["n"] == 1)
    nll = frame["metric"] == "perplexity_per_token"
    base = frame[(frame["method"] == "base") & nll]["value"].iloc[0]
    worst = edits & nll & (frame["scale"] == frame["scale"].max())
    for value in (1e12, None):
        data = points(frame.assign(value=frame["value"].where(~worst, value)), "small")
        figure = trade_off.draw(data)
        for axis in figure.axes:
            top = axis.get_ylim()[1]
            assert top == LEAST_TOP * base
            (edge,) = edges(axis)
            assert list(edge.get_ydata()) == [top]
            assert "triangle" in axis.get_title(loc="left")
    tame = frame.assign(value=frame["value"].fillna(base))
    axis = trade_off.draw(points(tame, "small")).axes[0]
    assert not edges(axis)
    assert "triangle" not in axis.get_title(loc="left")


def test_a_scale_that_was_left_out_has_no_point_and_no_triangle() -> None:
    """Its mean over the seeds would be of others than the perplexity's."""
    frame = limited(summary(datasets=("rude",), ns=(1, 4)), "2")
    data = points(frame, "small")
    at_one = data[(data["scale"] == 1.0) & (data["n"] == 4)]
    assert at_one["perplexity"].notna().all()
    has = dict(zip(at_one["seed"].fillna("mean"), at_one["toxicity"].notna(), strict=True))
    assert has == {"mean": False, "1": True, "2": False}
    (axis,) = trade_off.draw(data).axes
    assert axis.get_legend_handles_labels()[1] == ["N = 1", "N = 4"]
    assert not edges(axis)  # N = 1 has an infinite perplexity there
    none = limited(summary(datasets=("rude",), ns=(4,), scales=(1.0,), seeds=("1",)), "1")
    (axis,) = trade_off.draw(points(none, "small")).axes
    axis.figure.draw_without_rendering()
    assert axis.get_title(loc="left") == "rude (star: base model, ring: chosen scale)"


def test_many_lines_have_their_legend_below_and_only_what_tells_them_apart() -> None:
    frame = summary(seeds=("1",), ns=(1,), datasets=("rude",), suffix="--recipe=small")
    edits = frame[frame["method"] == "merge"].assign(n=pd.NA)
    more = [
        edits.assign(method=name, setting=f"recipe=small{more}")
        for name, more in [
            ("profs", ""), ("preadd", ""), ("self_debias", ""), ("gradient_ascent", ""),
            ("filtering", "--mode=a"), ("filtering", "--mode=b"),
        ]
    ]  # fmt: skip
    figure = trade_off.draw(points(pd.concat([frame, *more]), "small"))
    (axis,) = figure.axes
    labels = axis.get_legend_handles_labels()[1]
    assert sorted(labels) == [
        "filtering mode=a", "filtering mode=b", "gradient_ascent", "merge, N = 1", "preadd",
        "profs", "self_debias",
    ]  # fmt: skip
    figure.draw_without_rendering()
    legend = axis.get_legend().get_window_extent()
    assert legend.y1 < axis.get_window_extent().y0  # below the panel
    assert legend.x1 <= figure.bbox.x1
    assert legend.y0 >= figure.bbox.y0


def test_trade_off_shows_edits_without_a_data_set_in_every_panel() -> None:
    frame = summary(seeds=("1",))
    given = frame[(frame["method"] == "merge") & (frame["dataset"] == "rude")]
    given = given.assign(method="merge_given", dataset="-", seed="-")
    figure = trade_off.draw(points(pd.concat([frame, given]), "small"))
    assert [axis.get_title(loc="left").split(" (")[0] for axis in figure.axes] == ["mean", "rude"]
    for axis in figure.axes:
        assert axis.get_legend_handles_labels()[1] == [
            "merge, N = 1", "merge, N = 4", "merge_given, N = 1", "merge_given, N = 4",
        ]  # fmt: skip
    base = frame[frame["method"] == "base"]
    (axis,) = trade_off.draw(points(pd.concat([base, given]), "small")).axes
    assert axis.get_title(loc="left").startswith("no data set (star")


def test_trade_off_shows_each_of_several_training_seeds_behind_their_mean() -> None:
    data = points(summary(datasets=("rude",)), "small")
    edits = data[data["method"] != "base"]
    assert edits["seed"].value_counts(dropna=False).to_dict() == {None: 4, "1": 4, "2": 4}
    columns = edits[(edits["n"] == 4) & (edits["scale"] == 0.5)]
    mean = columns["seed"].isna()
    assert columns.loc[mean, "toxicity"].tolist() == [np.mean(columns.loc[~mean, "toxicity"])]
    figure = trade_off.draw(data)
    thin = [line for line in figure.axes[0].lines if line.get_linewidth() < 1]
    assert len(thin) == 2 * 2
    assert {len(line.get_xdata()) for line in thin} == {1 + 2}  # from the base on
    assert max(len(line.get_xdata()) for line in figure.axes[0].lines) == 1 + 2  # the mean, too

    alone = points(summary(datasets=("rude",), seeds=("1",)), "small")
    assert alone["seed"].isna().all()  # the mean of one seed is that seed
    figure = trade_off.draw(alone)
    assert not [line for line in figure.axes[0].lines if line.get_linewidth() < 1]


def test_operators_stand_in_one_panel_told_apart_by_colour() -> None:
    """Lines of one operator share it; what all lines have in common is not said of each."""
    settings = {"": "recipe=small"} | {
        name: f"operator={name}--recipe=small" for name in ("median", "magmax")
    }
    settings["ties--density=0.5"] = "operator=ties--density=0.5--recipe=small"
    settings["ties"] = "operator=ties--recipe=small"
    rows = [
        levels([0.2, 0.1]).assign(setting=f"n=4--{setting}", reduction=0.1 * i)
        for i, setting in enumerate(settings.values())
    ]
    figure = degradation_reduction.draw(pd.concat(rows, ignore_index=True))
    assert len(figure.axes) == 1
    handles, labels = figure.axes[0].get_legend_handles_labels()
    handles_by_label = dict(zip(labels, handles, strict=True))
    assert set(handles_by_label) == {"N = 4"} | {
        f"{name}, N = 4" for name in ("median", "magmax", "ties", "ties density=0.5")
    }
    colours = [
        handles_by_label[label].get_color() for label in handles_by_label if "density" not in label
    ]
    assert len(set(map(str, colours))) == 4
    both = [handles_by_label[f"{name}, N = 4"] for name in ("ties", "ties density=0.5")]
    assert both[0].get_color() == both[1].get_color()
    assert both[0].get_linestyle() == "-" != both[1].get_linestyle()
    assert labels == ["N = 4", *(f"{n}, N = 4" for n in ("magmax", "median", "ties")), labels[-1]]


def test_a_panel_that_only_says_why_it_is_empty_takes_less_room() -> None:
    both = [levels([0.2, 0.1]), levels([0.2, 0.1]).assign(dataset="mean", reduction=np.nan)]
    figure = degradation_reduction.draw(pd.concat(both, ignore_index=True))
    figure.draw_without_rendering()
    full, empty = (axis.get_position().height for axis in figure.axes)
    assert empty < full / 2
