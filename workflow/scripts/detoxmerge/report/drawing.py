"""What all figures share: panels, legends, bands and files; style is in matplotlibrc."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from ..plan.registry import FIGURES
from ..storage.artefacts import publish
from .inputs import Inputs

matplotlib.use("Agg")  # no display on a cluster; must come before pyplot

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

ROW_INCHES = 2.7
BASE_COLOUR = "0.35"
LEGEND_INCHES = 0.45  # of the part below many panels


def draw_figure(name: str, inputs: Inputs, png: Path, pdf: Path, csv: Path) -> None:
    """Draw a figure and keep the data behind it.

    Args:
        name: a file of figures/.
        inputs: what it needs.
        png: 200 dots per inch.
        pdf: vector graphics; fonts embedded, no date, so the same data give the same bytes.
        csv: the data.
    """
    data = FIGURES[name].table(inputs)
    write_figure(FIGURES[name].draw(data), data, png, pdf, csv)


def write_figure(figure: Figure, data: pd.DataFrame, png: Path, pdf: Path, csv: Path) -> None:
    """Write a drawn figure in its three formats, each whole or not at all, and close it."""
    with publish(png) as part:
        figure.savefig(part, format="png")
    with publish(pdf) as part:
        figure.savefig(part, format="pdf", metadata={"CreationDate": None})
    with publish(csv) as part:
        data.to_csv(part, index=False)
    plt.close(figure)


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
    return plt.subplots(
        count, columns, figsize=size, squeeze=False, layout="constrained", height_ratios=heights
    )


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
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:-1, 0]
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
    found: dict[str, Artist] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    columns = len(found) if len(found) <= 3 else (len(found) + 1) // 2  # two lines of them
    figure.subfigs[-1].legend(list(found.values()), list(found), loc="center", ncols=columns)


def note_below(figure: Figure, text: str) -> None:
    """One line under the last row of panels.

    Args:
        figure: of `panels`.
        text: what a reader must know.
    """
    size = plt.rcParams["legend.fontsize"]
    figure.subfigs[-1].text(0.5, 0.5, text, ha="center", va="center", fontsize=size)


def power(x: float) -> str:
    """A number as a factor and a power of ten.

    Args:
        x: for example 2e-5; one digit is shown.

    Returns:
        Matplotlib's math text.
    """
    digits, exponent = f"{x:.0e}".split("e")
    factor = "" if digits == "1" else rf"{digits}\cdot "
    return rf"${factor}10^{{{int(exponent)}}}$"


def spread(of_subsets: Mapping[str, float] | None) -> dict[str, float]:
    """A mean and its range as `mean_and_range` reads them.

    Args:
        of_subsets: `mean`, `low`, `high`; None is missing.

    Returns:
        `share`, `low`, `high`.
    """
    mean, low, high = ((of_subsets or {}).get(key, np.nan) for key in ("mean", "low", "high"))
    return {"share": mean, "low": low, "high": high}


def mean_and_range(axis: Axes, data: pd.DataFrame, x: str, **style: Any) -> None:
    """A line of shares with the band from the lowest to the highest.

    Args:
        axis: where.
        data: `share`, `low`, `high`; rows with the same x (seeds) are averaged, ranges joined.
        x: column.
        style: of the line.
    """
    line = data.groupby(x).agg({"share": "mean", "low": "min", "high": "max"})
    axis.plot(line.index, line["share"], **style)
    if (line["low"] < line["high"]).any():
        axis.fill_between(
            line.index, line["low"], line["high"], color=style["color"], alpha=0.2, lw=0
        )
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
