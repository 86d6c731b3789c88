"""Perplexity against toxicity: a line per method and N over its scales; lower left is better.

The base is a star, chosen scales have a ring, bars are intervals of the paired difference from the
base. With several training seeds the line is their mean, and each seed has a thin line. A line that
leaves the panel has a triangle at the edge for each scale beyond it.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, ScalarFormatter

from ..drawing import BASE_COLOUR, legend, rows_of_panels
from ..edit_lines import edit_lines, name_of_dataset
from ..inputs import Inputs
from ..names import variant
from ..over_scale_and_n import of_all_seeds

TITLE = "1.1 Perplexity against toxicity"
CATEGORY = "1 What it costs"
NEEDS = ("summary",)
ONLY_IF = None


# in units of the base's perplexity: a line that exceeds the first does not decide where the axis
# ends; the axis then reaches at least to the second
COLLAPSED, LEAST_TOP = 5.0, 2.0
BEYOND = 1e30  # drawn for a perplexity larger than any float
MANY_LINES, LEGEND_COLUMNS = 6, 3  # with more lines the legend is below the panel
PANEL_INCHES, LINE_INCHES = 3.6, 0.16  # of a panel without such a legend, and of a line of it


def table(inputs: Inputs) -> pd.DataFrame:
    """Toxicity and perplexity of each edit at each scale.

    Returns:
        The sweep, a row per edit, scale, prompt set, scorer and corpus: means over the training
        seeds of `toxicity`, `perplexity` and of the bounds of their difference from the base
        (`_low`, `_high`), and `chosen_by`, the selectors that chose this scale for any seed, joined
        by commas. If there are several training seeds, each also has a row; `seed` is null in the
        mean. Toxicity is missing where the sweep left the scale out, for any seed of the mean. The
        base has method `base`.
    """
    rows = inputs.results[inputs.results["model"] == inputs.model].copy()
    rows["variant"] = [variant(setting) for setting in rows["setting"]]
    edit = ["dataset", "method", "variant", "n", "scale"]
    several = rows.groupby(edit[:-1], dropna=False)["seed"].transform("nunique") > 1
    each = _points(rows[several], [*edit, "seed"])
    both = pd.concat([_points(rows, edit).assign(seed=None), each])
    return both.sort_values([*edit, "prompts", "scorer", "corpus", "seed"], kind="stable")


def _points(rows: pd.DataFrame, edit: list[str]) -> pd.DataFrame:
    """Means over what is not in `edit`."""
    sweep = rows[rows["stage"] == "sweep"]
    numbers = {"value": "", "difference_low": "_low", "difference_high": "_high"}

    def means(metric: str, name: str, keys: list[str]) -> pd.DataFrame:
        grouped = sweep[sweep["metric"] == metric].groupby(edit + keys, dropna=False, sort=False)
        table = of_all_seeds(grouped[list(numbers)].mean(), grouped).reset_index()
        return table.rename(columns={key: name + suffix for key, suffix in numbers.items()})

    toxicity = means("toxicity_mean", "toxicity", ["measured_on", "scorer"])
    perplexity = means("perplexity_per_token", "perplexity", ["measured_on"])
    toxicity = toxicity.rename(columns={"measured_on": "prompts"})
    perplexity = perplexity.rename(columns={"measured_on": "corpus"})
    chosen = rows[rows["metric"] == "selected_scale"].groupby(edit, dropna=False)["selector"]
    names = chosen.agg(lambda chose: ", ".join(dict.fromkeys(chose))).rename("chosen_by")
    return toxicity.merge(perplexity, on=edit).merge(names.reset_index(), on=edit, how="left")


def draw(data: pd.DataFrame) -> Figure:
    """A panel per data set, prompt set, scorer and corpus.

    Edits that use no data set are in every panel.
    """
    base, edits = data[data["method"] == "base"], data[data["method"] != "base"]
    keys = ["dataset", "prompts", "scorer", "corpus"]
    without_data = edits["dataset"] == "-"
    panels = edits[keys][~without_data | without_data.all()].drop_duplicates()
    num_lines = edits.groupby(["method", "variant", "n"], dropna=False).ngroups
    figure, axes = rows_of_panels(len(panels), columns=1)
    if num_lines > MANY_LINES:
        below = -(-num_lines // LEGEND_COLUMNS) * LINE_INCHES
        figure.set_figheight(len(panels) * (PANEL_INCHES + below))
    for axis, (_, panel) in zip(axes.ravel(), panels.iterrows(), strict=True):
        # lines from the base on, which belongs to no data set
        part = edits[(edits[keys[1:]] == panel[keys[1:]]).all(axis=1)]
        part = part[part["dataset"].isin([panel["dataset"], "-"])]
        start = base[(base[keys[1:]] == panel[keys[1:]]).all(axis=1)].iloc[0]
        for label, line, style in edit_lines(part):
            _trade_off_line(axis, start, line, label, style)
        axis.plot(start["toxicity"], start["perplexity"], "*", color=BASE_COLOUR, ms=9, zorder=5)
        # ticks that read as numbers, also where the axis spans less than a decade
        axis.set_yscale("log")
        beyond = _mark_beyond(axis, float(start["perplexity"]), edit_lines(part))
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axis.set_xlabel(f"Mean toxicity on {panel['prompts']}, scored by {panel['scorer']} (0–1)")
        axis.set_ylabel(f"Perplexity (log scale)\non {panel['corpus']}")
        symbols = "star: base model, ring: chosen scale"
        symbols += ", triangle at the edge: beyond it" if beyond else ""
        axis.set_title(f"{name_of_dataset(panel['dataset'])} ({symbols})", loc="left")
        if num_lines > MANY_LINES:
            place = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.16), "borderaxespad": 0.0}
            axis.legend(**place, ncols=LEGEND_COLUMNS)
        else:
            legend(axis)
    return figure


def _trade_off_line(
    axis: Axes, start: pd.Series, line: pd.DataFrame, label: str, style: dict[str, Any]
) -> None:
    for _, seed_line in line[line["seed"].notna()].groupby("seed"):
        _, x, y = _from_base(start, seed_line)
        axis.plot(x, y, color=style["color"], lw=0.6, alpha=0.5, zorder=1.9)
    line, x, y = _from_base(start, line[line["seed"].isna()])
    # intervals are of the difference from the base, so they are drawn around it
    errors = {}
    for name, column, values in (("xerr", "toxicity", x), ("yerr", "perplexity", y)):
        moved = values - float(start[column])
        low, high = (line[f"{column}_{bound}"].astype(float) for bound in ("low", "high"))
        errors[name] = [np.maximum(0, moved - low), np.maximum(0, high - moved)]
    axis.errorbar(
        x,
        y,
        xerr=errors["xerr"],
        yerr=errors["yerr"],
        label=label,
        **style,
        elinewidth=0.6,
        capsize=0,
    )
    ringed = line["chosen_by"].notna()
    axis.plot(x[ringed], y[ringed], "o", mfc="none", mec=style["color"], ms=9, mew=1.2)


def _mark_beyond(
    axis: Axes, base: float, lines: list[tuple[str, pd.DataFrame, dict[str, Any]]]
) -> bool:
    """If a line collapses, end the axis above the others; whether one does."""
    # a scale that the sweep left out has no place in the panel
    shown = [(line[line["toxicity"].notna()], style) for _, line, style in lines]
    means = [(line[line["seed"].isna()], style) for line, style in shown]
    means = [(line, style) for line, style in means if len(line)]
    perplexities = [line["perplexity"].astype(float).fillna(BEYOND) for line, _ in means]
    kept = [values.max() for values in perplexities if values.max() <= COLLAPSED * base]
    if len(kept) == len(perplexities):
        return False
    top = max([LEAST_TOP * base, *(1.1 * largest for largest in kept)])
    low = min(base, *(values.min() for values in perplexities))
    axis.set_ylim(0.9 * low, top)
    # a triangle for each scale above the axis, at its toxicity
    for (line, style), values in zip(means, perplexities, strict=True):
        x = line["toxicity"].astype(float)[values > top]
        if len(x):
            axis.plot(x, [top] * len(x), "^", color=style["color"], ms=6, clip_on=False, zorder=6)
    return True


def _from_base(start: pd.Series, line: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """A line over its scales after the base model, with its toxicity and its perplexity."""
    line = pd.concat([start.to_frame().T, line]).sort_values("scale")
    perplexity = line["perplexity"].astype(float).fillna(BEYOND)
    return line, line["toxicity"].astype(float), perplexity
