"""A metric over the scale (a line per N) and over N (a line per scale)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import BASE_COLOUR, legend, rows_of_panels
from .names import named, operator_of, variant
from .styles import line_style
from .summary import LEFT_OUT

MAX_TICKS = 8


def measured(summary: pd.DataFrame, model: str, metric: str) -> pd.DataFrame:
    """A metric of all edits of a model: mean and range over the training seeds.

    Returns:
        `dataset` (null: the base model), `measured_on`, `scorer`, `method`, `variant` (the setting
        without its N), `n`, `scale`, `mean`, `low`, `high`, `num_seeds`. A scale that the sweep
        left out for any of the seeds has no mean, low and high.
    """
    sweep = (summary["stage"] == "sweep") & (summary["model"] == model)
    rows = summary[sweep & (summary["metric"] == metric)].copy()
    rows["variant"] = [variant(setting) for setting in rows["setting"]]
    keys = ["dataset", "measured_on", "scorer", "method", "variant", "n", "scale"]
    grouped = rows.groupby(keys, dropna=False, sort=False)
    table = grouped["value"].agg(mean="mean", low="min", high="max", num_seeds="size")
    table[["mean", "low", "high"]] = of_all_seeds(table[["mean", "low", "high"]], grouped)
    table = table.reset_index()
    return table.sort_values(["dataset", "measured_on", "variant", "n", "scale"], kind="stable")


def of_all_seeds(means: pd.DataFrame, grouped: Any) -> pd.DataFrame:
    """Without the means of scales that the sweep left out for some of the seeds.

    A mean of the other seeds would not stand beside one of all.

    Args:
        means: a row per group.
        grouped: rows of the summary.
    """
    if LEFT_OUT not in grouped.obj:
        return means
    return means.mask(grouped[LEFT_OUT].count() > 0)


def draw_over_scale_and_n(data: pd.DataFrame, quantity: str) -> Figure:
    """A row of two panels per data set, method with an N, variant, and what it is measured on.

    Args:
        data: of `measured`.
        quantity: the metric as the y-axis names it, with its unit.
    """
    edits, base = data[data["n"].notna()], data[data["method"] == "base"]
    keys = ["dataset", "method", "variant", "measured_on", "scorer"]
    panels = edits[keys].drop_duplicates()
    figure, axes = rows_of_panels(len(panels))
    for row, (_, panel) in zip(axes, panels.iterrows(), strict=True):
        part, level = _same(edits, panel), _same(base, panel[["measured_on", "scorer"]])["mean"]
        _lines(row[0], part, "scale", "n", "N = {}")
        _lines(row[1], part, "n", "scale", "scale {}")
        row[0].set_title(_where(panel), loc="left")
        row[0].set_xlabel("Scale λ of the subtracted vector")
        row[1].set_xlabel("Number of merged shards N")
        for axis in row:
            axis.set_ylabel(quantity)
            axis.axhline(level.iloc[0], color=BASE_COLOUR, linestyle="--", label="base model")
            legend(axis)
    return figure


def _lines(axis: Axes, part: pd.DataFrame, x: str, line: str, label: str) -> None:
    """A line per value of `line` over `x`; the band is the range over training seeds."""
    values = sorted(part[line].unique())
    places = sorted(part[x].unique())
    # from dark to light, distinct also in grey
    shades = colormaps["viridis"](np.linspace(0.0, 0.85, len(values)))
    for value, shade in zip(values, shades, strict=True):
        style = {"color": shade, "marker": "o"}
        if line == "n":  # an N looks the same in every figure
            style = line_style(part["method"].iloc[0], value, operator_of(part["variant"].iloc[0]))
        curve = part[part[line] == value].sort_values(x)
        # N is equally spaced, since 1, 2, 5, 10 would crowd at the left
        position = curve[x].map(places.index) if x == "n" else curve[x]
        axis.plot(position, curve["mean"], label=label.format(f"{value:g}"), **style)
        if (curve["num_seeds"] > 1).any():
            axis.fill_between(
                position, curve["low"], curve["high"], color=style["color"], alpha=0.2, lw=0
            )
    if x == "n":
        axis.set_xticks(range(len(places)), [str(place) for place in places])
    elif len(places) <= MAX_TICKS:
        axis.set_xticks(places, [f"{place:g}" for place in places])


def _same(data: pd.DataFrame, panel: pd.Series) -> pd.DataFrame:
    """The rows that have the panel's values, of which some may be missing."""
    keep = pd.Series(True, index=data.index)
    for column, value in panel.items():
        keep &= data[column].isna() if pd.isna(value) else data[column] == value
    return data[keep]


def _where(panel: pd.Series) -> str:
    scorer = "" if pd.isna(panel["scorer"]) else f", scored by {panel['scorer']}"
    return f"{named(panel)}, on {panel['measured_on']}{scorer}"
