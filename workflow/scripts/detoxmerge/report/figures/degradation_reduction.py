"""Degradation reduction over the matched toxicity: a line per N, bands are intervals."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..drawing import BASE_COLOUR, legend, rows_of_panels
from ..edit_lines import edit_lines, name_of_dataset
from ..inputs import Inputs
from ..names import variant

TITLE = "1.2 Degradation reduction by toxicity"
CATEGORY = "1 What it costs"
NEEDS = ("levels",)
ONLY_IF = None

EMPTY_HEIGHT = 0.3  # of a panel that only says why it is empty, in units of a panel


def table(inputs: Inputs) -> pd.DataFrame:
    """The reduction of each edit at each level of toxicity, with bounds."""
    return inputs.levels


def draw(data: pd.DataFrame) -> Figure:
    """A panel per data set, prompt set, scorer, corpus and seed."""
    if data.empty:
        figure, axes = rows_of_panels(1, columns=1)
        _write_instead(axes[0, 0], "no edit with N > 1 beside one of N = 1")
        return figure
    data = data.assign(variant=[variant(setting) for setting in data["setting"]])
    keys = ["dataset", "prompts", "scorer", "corpus", "seed"]
    panels = data[keys].drop_duplicates()
    parts = [data[(data[keys] == panel).all(axis=1)] for _, panel in panels.iterrows()]
    heights = [1.0 if part["reduction"].notna().any() else EMPTY_HEIGHT for part in parts]
    figure, axes = rows_of_panels(len(panels), columns=1, heights=heights)
    for axis, part, (_, panel) in zip(axes.ravel(), parts, panels.iterrows(), strict=True):
        _reduction_panel(axis, part, panel)
    return figure


def _write_instead(axis: Axes, reason: str) -> None:
    axis.text(0.5, 0.5, reason, ha="center", va="center", transform=axis.transAxes)
    axis.set_axis_off()


def _reduction_panel(axis: Axes, part: pd.DataFrame, panel: pd.Series) -> None:
    axis.set_title(
        f"{name_of_dataset(panel['dataset'])}, perplexity on {panel['corpus']}", loc="left"
    )
    shown = part.dropna(subset=["reduction"])
    if shown.empty:
        _write_instead(axis, "undefined for every N; the notes of tables/headline say why")
        return
    for label, line, style in edit_lines(shown):
        line = line.sort_values("toxicity")
        axis.plot(line["toxicity"], line["reduction"], label=label, **style, markevery=4)
        axis.fill_between(
            line["toxicity"].astype(float), line["low"], line["high"], color=style["color"],
            alpha=0.15, lw=0,
        )  # fmt: skip
    axis.axhline(0, color=BASE_COLOUR, linestyle="--")
    # as the lines need it; wide bands would flatten them, and are cut
    low, high = shown["reduction"].min(), shown["reduction"].max()
    axis.set_ylim(max(-1.5, min(-0.2, low - 0.1)), min(2.0, max(1.05, high + 0.05)))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.invert_xaxis()
    axis.set_xlabel(f"Mean toxicity that both reach on {panel['prompts']} (base model at the left)")
    axis.set_ylabel("Degradation reduction\nagainst N = 1")
    legend(axis)
