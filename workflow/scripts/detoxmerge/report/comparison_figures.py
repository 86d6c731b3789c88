"""Figures that compare edits: what each costs at the toxicity it reaches."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, PercentFormatter, ScalarFormatter

from ..plan.registry import replicates
from .figures import BASE_COLOUR, legend, operator_of, rows_of_panels, variant
from .styles import DASHES, line_style

COLLAPSED = 5.0  # times the base's perplexity: a line that comes so far does not decide the axis
LEAST_TOP = 2.0  # times the base's perplexity
BEYOND = 1e30  # drawn where a perplexity is larger than any float
MANY_LINES, LEGEND_COLUMNS = 6, 3  # more lines have their legend below the panel
PANEL_INCHES, LINE_INCHES = 3.6, 0.16  # of a panel with its legend below, and of a line of that
EMPTY_HEIGHT = 0.3  # of a panel that only says why it is empty, in panels


def points(summary: pd.DataFrame, model: str) -> pd.DataFrame:
    """What the trade-off figure shows: toxicity and perplexity of each edit at each scale.

    Args:
        summary: summary.parquet.
        model: alias.

    Returns:
        The sweep, a row per edit, scale, prompt set, scorer and corpus: means over the training
        seeds of `toxicity`, `perplexity` and of the bounds of their difference from the base
        (`_low`, `_high`), and `chosen_by`, the selectors that chose this scale for a seed, joined
        by commas. Of several training seeds also a row for each; `seed` is null in the mean. The
        base has method `base`.
    """
    shown = ~summary["method"].isin(replicates())
    rows = summary[shown & (summary["model"] == model)].copy()
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
        found = grouped[list(numbers)].mean().reset_index()
        return found.rename(columns={key: name + suffix for key, suffix in numbers.items()})

    toxicity = means("toxicity_mean", "toxicity", ["measured_on", "scorer"])
    perplexity = means("perplexity_per_token", "perplexity", ["measured_on"])
    toxicity = toxicity.rename(columns={"measured_on": "prompts"})
    perplexity = perplexity.rename(columns={"measured_on": "corpus"})
    chosen = rows[rows["metric"] == "selected_scale"].groupby(edit, dropna=False)["selector"]
    names = chosen.agg(lambda found: ", ".join(dict.fromkeys(found))).rename("chosen_by")
    return toxicity.merge(perplexity, on=edit).merge(names.reset_index(), on=edit, how="left")


def trade_off(data: pd.DataFrame) -> Figure:
    """Perplexity against toxicity: a line per method and N over its scales, left is better.

    Args:
        data: of `points`.

    Returns:
        A panel per data set, prompt set, scorer and corpus; edits that use no data set stand in
        each. The base is a star, chosen scales have a ring, bars are intervals of the paired
        difference from the base. Of several training seeds the line is the mean, and thin ones
        each. A line that leaves the panel has a triangle at its edge for each scale beyond.
    """
    base, edits = data[data["method"] == "base"], data[data["method"] != "base"]
    keys = ["dataset", "prompts", "scorer", "corpus"]
    without = edits["dataset"] == "-"
    panels = edits[keys][~without | without.all()].drop_duplicates()
    groups = edits.groupby(["method", "variant", "n"], dropna=False).ngroups
    figure, axes = rows_of_panels(len(panels), columns=1)
    if groups > MANY_LINES:
        below = -(-groups // LEGEND_COLUMNS) * LINE_INCHES
        figure.set_figheight(len(panels) * (PANEL_INCHES + below))
    for axis, (_, panel) in zip(axes.ravel(), panels.iterrows(), strict=True):
        part = edits[(edits[keys[1:]] == panel[keys[1:]]).all(axis=1)]
        part = part[part["dataset"].isin([panel["dataset"], "-"])]
        start = base[(base[keys[1:]] == panel[keys[1:]]).all(axis=1)].iloc[0]
        for label, line, style in _lines(part):
            _trade_off_line(axis, start, line, label, style)
        axis.plot(start["toxicity"], start["perplexity"], "*", color=BASE_COLOUR, ms=9, zorder=5)
        axis.set_yscale("log")
        beyond = _mark_beyond(axis, float(start["perplexity"]), _lines(part))
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axis.set_xlabel(f"Mean toxicity on {panel['prompts']}, scored by {panel['scorer']} (0–1)")
        axis.set_ylabel(f"Perplexity (log scale)\non {panel['corpus']}")
        of = _of(panel["dataset"])
        told = "star: base model, ring: chosen scale"
        told += ", triangle at the edge: beyond it" if beyond else ""
        axis.set_title(f"{of} ({told})", loc="left")
        if groups > MANY_LINES:
            place = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.16), "borderaxespad": 0.0}
            axis.legend(**place, ncols=LEGEND_COLUMNS)
        else:
            legend(axis)
    return figure


def degradation_reduction(data: pd.DataFrame) -> Figure:
    """Degradation reduction over the toxicity that is matched: a line per N, bands are intervals.

    Args:
        data: degradation_reduction.csv of one model: `toxicity`, `reduction`, `low`, `high` and
            what they are of.

    Returns:
        A panel per data set, prompt set, scorer, corpus and seed.
    """
    if data.empty:
        figure, axes = rows_of_panels(1, columns=1)
        _say(axes[0, 0], "no edit with N > 1 beside one of N = 1")
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


def _say(axis: Axes, words: str) -> None:
    axis.text(0.5, 0.5, words, ha="center", va="center", transform=axis.transAxes)
    axis.set_axis_off()


def _reduction_panel(axis: Axes, part: pd.DataFrame, panel: pd.Series) -> None:
    axis.set_title(f"{_of(panel['dataset'])}, perplexity on {panel['corpus']}", loc="left")
    shown = part.dropna(subset=["reduction"])
    if shown.empty:
        _say(axis, "undefined for every N; the notes of tables/headline say why")
        return
    for label, line, style in _lines(shown):
        line = line.sort_values("toxicity")
        axis.plot(line["toxicity"], line["reduction"], label=label, **style, markevery=4)
        axis.fill_between(
            line["toxicity"].astype(float), line["low"], line["high"], color=style["color"],
            alpha=0.15, lw=0,
        )  # fmt: skip
    axis.axhline(0, color=BASE_COLOUR, linestyle="--")
    low, high = shown["reduction"].min(), shown["reduction"].max()  # of the lines; bands are cut
    axis.set_ylim(max(-1.5, min(-0.2, low - 0.1)), min(2.0, max(1.05, high + 0.05)))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.invert_xaxis()
    axis.set_xlabel(f"Mean toxicity that both reach on {panel['prompts']} (base model at the left)")
    axis.set_ylabel("Degradation reduction\nagainst N = 1")
    legend(axis)


def _of(dataset: str) -> str:
    return "no data set" if dataset == "-" else dataset


def _lines(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """(label, rows, style) per method, other parameters (the fewest first) and N."""
    found = []
    groups = list(part.groupby(["method", "variant", "n"], dropna=False, sort=True))
    groups.sort(key=lambda group: (group[0][0], len(group[0][1].split("--"))))
    kinds = list(dict.fromkeys((method, how) for (method, how, _), _ in groups))
    seen: Counter[str] = Counter()  # lines of one colour differ in their dashes
    dashes = {}
    for method, how in kinds:
        colour = f"{method} {operator_of(how)}"
        dashes[method, how] = DASHES[seen[colour] % len(DASHES)]
        seen[colour] += 1
    for (method, how, n), rows in groups:
        told = _telling(how, [other for name, other in kinds if name == method and other != how])
        told = [method, *told] if len({method for method, _ in kinds}) > 1 else told
        told = told or ([method] if pd.isna(n) else [])
        name = " ".join(told).replace("operator=", "")
        label = ", ".join(filter(None, [name, "" if pd.isna(n) else f"N = {n:g}"]))
        style = line_style(method, n, operator_of(how)) | {"linestyle": dashes[method, how]}
        found.append((label, rows, style))
    return found


def _telling(variant: str, others: list[str]) -> list[str]:
    """As many words of a variant, from the first on, as tell it from others of its method."""
    shared = [set(other.split("--")) for other in others]
    words = [w for w in variant.split("--") if not all(w in of_other for of_other in shared)]
    for count in range(1, len(words)):
        if not any(set(words[:count]) <= of_other for of_other in shared):
            return words[:count]
    return words if others else []


def _trade_off_line(
    axis: Axes, start: pd.Series, line: pd.DataFrame, label: str, style: dict[str, Any]
) -> None:
    for _, one in line[line["seed"].notna()].groupby("seed"):
        _, x, y = _from_base(start, one)
        axis.plot(x, y, color=style["color"], lw=0.6, alpha=0.5, zorder=1.9)
    line, x, y = _from_base(start, line[line["seed"].isna()])
    errors = {}
    for name, column, at in (("xerr", "toxicity", x), ("yerr", "perplexity", y)):
        moved = at - float(start[column])
        low, high = (line[f"{column}_{bound}"].astype(float) for bound in ("low", "high"))
        errors[name] = [np.maximum(0, moved - low), np.maximum(0, high - moved)]
    axis.errorbar(x, y, **errors, label=label, **style, elinewidth=0.6, capsize=0)
    ringed = line["chosen_by"].notna()
    axis.plot(x[ringed], y[ringed], "o", mfc="none", mec=style["color"], ms=9, mew=1.2)


def _mark_beyond(
    axis: Axes, base: float, lines: list[tuple[str, pd.DataFrame, dict[str, Any]]]
) -> bool:
    """Where a line collapses, end the axis above the others; whether one does."""
    means = [(line[line["seed"].isna()], style) for _, line, style in lines]
    found = [line["perplexity"].astype(float).fillna(BEYOND) for line, _ in means]
    kept = [of_line.max() for of_line in found if of_line.max() <= COLLAPSED * base]
    if len(kept) == len(found):
        return False
    top = max([LEAST_TOP * base, *(1.1 * largest for largest in kept)])
    low = min(base, *(of_line.min() for of_line in found))
    axis.set_ylim(0.9 * low, top)
    for (line, style), of_line in zip(means, found, strict=True):
        x = line["toxicity"].astype(float)[of_line > top]
        if len(x):
            axis.plot(x, [top] * len(x), "^", color=style["color"], ms=6, clip_on=False, zorder=6)
    return True


def _from_base(start: pd.Series, line: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """A line over its scales after the base model, with its toxicity and its perplexity."""
    line = pd.concat([start.to_frame().T, line]).sort_values("scale")
    perplexity = line["perplexity"].astype(float).fillna(BEYOND)
    return line, line["toxicity"].astype(float), perplexity
