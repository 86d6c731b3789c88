"""The figures: each function takes a table and returns a Figure; style is in matplotlibrc."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from ..plan.registry import replicates
from ..storage.artefacts import publish
from .styles import line_style

matplotlib.use("Agg")  # no display on a cluster; must come before pyplot

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROW_INCHES = 2.7
BASE_COLOUR = "0.35"
MAX_TICKS = 8
LEGEND_INCHES = 0.45  # of the part below many panels


def draw(
    figure: Callable[[pd.DataFrame], Figure], data: pd.DataFrame, png: Path, pdf: Path, csv: Path
) -> None:
    """Draw one figure and keep the data behind it.

    Args:
        figure: one of this module's figures.
        data: what it shows.
        png: 200 dots per inch.
        pdf: vector graphics; fonts embedded, no date, so the same data give the same bytes.
        csv: the data.
    """
    drawn = figure(data)
    with publish(png) as part:
        drawn.savefig(part, format="png")
    with publish(pdf) as part:
        drawn.savefig(part, format="pdf", metadata={"CreationDate": None})
    with publish(csv) as part:
        data.to_csv(part, index=False)
    plt.close(drawn)


def measured(summary: pd.DataFrame, model: str, metric: str) -> pd.DataFrame:
    """What a figure over scale and N shows: mean and range over the training seeds.

    Args:
        summary: summary.parquet.
        model: alias.
        metric: for example ``toxicity_mean``.

    Returns:
        `dataset` (null: the base model), `measured_on`, `scorer`, `method`, `variant` (the setting
        without its N), `n`, `scale`, `mean`, `low`, `high`, `num_seeds`.
    """
    sweep = (summary["stage"] == "sweep") & (summary["model"] == model)
    sweep &= ~summary["method"].isin(replicates())
    rows = summary[sweep & (summary["metric"] == metric)].copy()
    rows["variant"] = [variant(setting) for setting in rows["setting"]]
    keys = ["dataset", "measured_on", "scorer", "method", "variant", "n", "scale"]
    grouped = rows.groupby(keys, dropna=False, sort=False)["value"]
    found = grouped.agg(mean="mean", low="min", high="max", num_seeds="size").reset_index()
    return found.sort_values(["dataset", "measured_on", "variant", "n", "scale"], kind="stable")


def variant(setting: object) -> str:
    """A setting without its N: what is the same along a curve over N.

    Args:
        setting: for example ``n=4--recipe=small``; null for the base model.

    Returns:
        For example ``recipe=small``; empty if nothing else differs from the defaults.
    """
    parts = setting.split("--") if isinstance(setting, str) else []
    return "--".join(p for p in parts if p != "default" and not p.startswith("n="))


def operator_of(variant: str) -> str:
    """The merge operator of a variant.

    Args:
        variant: of `variant`.

    Returns:
        Its name; ``mean`` where none is told.
    """
    told = dict(part.partition("=")[::2] for part in variant.split("--"))
    return told.get("operator", "mean")


def toxicity(data: pd.DataFrame) -> Figure:
    """Mean toxicity over the scale (a line per N) and over N (a line per scale).

    Args:
        data: of `measured`, for ``toxicity_mean``.

    Returns:
        A row of two panels per data set, method with an N, variant, prompt set and scorer.
    """
    return _over_scale_and_n(data, "Mean toxicity of continuations (0–1)")


def perplexity(data: pd.DataFrame) -> Figure:
    """Perplexity per token over the scale (a line per N) and over N (a line per scale).

    Args:
        data: of `measured`, for ``perplexity_per_token``.

    Returns:
        A row of two panels per data set, method with an N, variant and corpus.
    """
    return _over_scale_and_n(data, "Perplexity per token")


def _over_scale_and_n(data: pd.DataFrame, quantity: str) -> Figure:
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
    for value, colour in zip(values, colours(len(values)), strict=True):
        look = {"color": colour, "marker": "o"}
        if line == "n":
            look = line_style(part["method"].iloc[0], value, operator_of(part["variant"].iloc[0]))
        curve = part[part[line] == value].sort_values(x)
        # N as equally spaced ticks: 1, 2, 5, 10 would crowd at the left
        at = curve[x].map(places.index) if x == "n" else curve[x]
        axis.plot(at, curve["mean"], label=label.format(f"{value:g}"), **look)
        if (curve["num_seeds"] > 1).any():
            axis.fill_between(at, curve["low"], curve["high"], color=look["color"], alpha=0.2, lw=0)
    if x == "n":
        axis.set_xticks(range(len(places)), [str(p) for p in places])
    elif len(places) <= MAX_TICKS:
        axis.set_xticks(places, [f"{p:g}" for p in places])


def legend(axis: Axes) -> None:
    """A legend beside the panel: no curve can run through it.

    Args:
        axis: without a legend, if it has no labelled line.
    """
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def rows_of_panels(
    count: int, columns: int = 2, heights: list[float] | None = None
) -> tuple[Figure, Any]:
    """A figure of so many rows.

    Args:
        count: rows.
        columns: panels in each.
        heights: of each row, in rows of the usual height; none: all 1.

    Returns:
        The figure, and its axes as an array (count, columns).
    """
    heights = [1.0] * count if heights is None else heights
    size = (plt.rcParams["figure.figsize"][0], ROW_INCHES * sum(heights))
    how = {"squeeze": False, "layout": "constrained", "height_ratios": heights}
    return plt.subplots(count, columns, figsize=size, **how)


def colours(count: int) -> np.ndarray:
    """Colours for values in order.

    Args:
        count: of values.

    Returns:
        (count, 4) RGBA, dark to light, distinct in grey as well.
    """
    return plt.get_cmap("viridis")(np.linspace(0.0, 0.85, count))


def panels(names: list[str], columns: int, height: float, **how: Any) -> tuple[Figure, Any]:
    """Rows of panels, each row under its name, and room for a legend or note below them.

    Args:
        names: of the rows.
        columns: panels in a row.
        height: of a row, inches.
        how: passed on to `subplots` of each row, for example ``sharey``.

    Returns:
        The figure, and its axes, (rows, columns).
    """
    heights = [height] * len(names) + [LEGEND_INCHES]
    size = (plt.rcParams["figure.figsize"][0], sum(heights))
    figure = plt.figure(figsize=size, layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights)[:-1]
    axes = [part.subplots(1, columns, squeeze=False, **how)[0] for part in parts]
    for part, name in zip(parts, names, strict=True):
        title = plt.rcParams["axes.titlesize"]
        part.suptitle(name, x=0.005, ha="left", fontsize=title, fontweight="bold")
    return figure, np.array(axes)


def legend_below(figure: Figure) -> None:
    """One legend for all panels, under the last row of them.

    Args:
        figure: of `panels`.
    """
    found = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    columns = len(found) if len(found) <= 3 else (len(found) + 1) // 2  # two lines of them
    figure.subfigs[-1].legend(found.values(), found, loc="center", ncols=columns)


def note_below(figure: Figure, text: str) -> None:
    """One line under the last row of panels.

    Args:
        figure: of `panels`.
        text: what a reader must know.
    """
    size = plt.rcParams["legend.fontsize"]
    figure.subfigs[-1].text(0.5, 0.5, text, ha="center", va="center", fontsize=size)


def _same(data: pd.DataFrame, panel: pd.Series) -> pd.DataFrame:
    keep = pd.Series(True, index=data.index)
    for column, value in panel.items():
        keep &= data[column].isna() if pd.isna(value) else data[column] == value
    return data[keep]


def _where(panel: pd.Series) -> str:
    scorer = "" if pd.isna(panel["scorer"]) else f", scored by {panel['scorer']}"
    return f"{named(panel)}, on {panel['measured_on']}{scorer}"


def named(edit: Any) -> str:
    """What a row of panels shows.

    Args:
        edit: `dataset`, `method`, `variant`.

    Returns:
        Data set if it is made of one, method and what the setting has beside N.
    """
    how = f" ({edit['variant']})" if edit["variant"] else ""
    of = "" if edit["dataset"] == "-" else f"{edit['dataset']}, "
    return f"{of}{edit['method']}{how}"
