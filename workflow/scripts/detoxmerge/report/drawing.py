"""What all figures share: panels, legends and files; their style is in matplotlibrc."""

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

ROW_INCHES = 2.7
BASE_COLOUR = "0.35"
LEGEND_INCHES = 0.45  # height of the strip below `panels`


def draw_figure(name: str, inputs: Inputs, png: Path, pdf: Path, csv: Path) -> None:
    """Draw a figure and keep the data behind it.

    Args:
        name: a file of figures/.
        png: 200 dots per inch.
        pdf: vector graphics with embedded fonts; without a date, so that the same data give the
            same bytes.
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
    """A legend beside the panel, where no curve runs through it, if any line has a label."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def rows_of_panels(
    count: int, columns: int = 2, heights: list[float] | None = None
) -> tuple[Figure, Any]:
    """A figure of panels of the usual height.

    Args:
        count: rows.
        columns: panels in each.
        heights: of each row, as multiples of the usual height; None for 1.

    Returns:
        The figure, and its axes as an array (count, columns).
    """
    heights = [1.0] * count if heights is None else heights
    size = (plt.rcParams["figure.figsize"][0], ROW_INCHES * sum(heights))
    return plt.subplots(
        count, columns, figsize=size, squeeze=False, layout="constrained", height_ratios=heights
    )


def panels(names: list[str], columns: int, height: float, **options: Any) -> tuple[Figure, Any]:
    """Rows of panels, each row under its name, with room for a legend or note below them.

    Args:
        names: of the rows.
        columns: panels in a row.
        height: of a row, inches.
        options: of `subplots` for each row, for example ``sharey``.

    Returns:
        The figure, and its axes as an array (rows, columns).
    """
    heights = [height] * len(names) + [LEGEND_INCHES]
    size = (plt.rcParams["figure.figsize"][0], sum(heights))
    figure = plt.figure(figsize=size, layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:-1, 0]
    axes = [part.subplots(1, columns, squeeze=False, **options)[0] for part in parts]
    for part, name in zip(parts, names, strict=True):
        title = plt.rcParams["axes.titlesize"]
        part.suptitle(name, x=0.005, ha="left", fontsize=title, fontweight="bold")
    return figure, np.array(axes)


def legend_below(figure: Figure) -> None:
    """One legend for all panels of a figure of `panels`, below them."""
    entries: dict[str, Artist] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    # one line of the legend has room for three
    columns = len(entries) if len(entries) <= 3 else (len(entries) + 1) // 2
    figure.subfigs[-1].legend(list(entries.values()), list(entries), loc="center", ncols=columns)


def note_below(figure: Figure, text: str) -> None:
    """One line of text below the panels of a figure of `panels`."""
    size = plt.rcParams["legend.fontsize"]
    figure.subfigs[-1].text(0.5, 0.5, text, ha="center", va="center", fontsize=size)
