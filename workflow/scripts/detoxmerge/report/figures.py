"""The figures: each function takes a table and returns a Figure; style is in matplotlibrc."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from ..artefacts import publish, read_json
from ..plan.methods import replicates

matplotlib.use("Agg")  # no display on a cluster; must come before pyplot

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

ROW_INCHES = 2.7
BASE_COLOUR = "0.35"
MAX_TICKS = 8


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


def changes(paths: list[Path]) -> pd.DataFrame:
    """What `parameter_change` shows.

    Args:
        paths: `change.json` of the edits of one model; those without an N are left out.

    Returns:
        A row per edit and quantity: `edits` (data set, method, variant), `n`, `seed`,
        `quantity` (``density``: share of parameters per decade of |delta|; ``below_E``: share
        below E), `x`, `value`.
    """
    rows = []
    for found in map(read_json, paths):
        edit = found["edit"]
        if "n" not in edit["params"] or edit["method"] in replicates():
            continue
        counted = found["num_elements"] - found["num_structural_zeros"]
        bins = found["histogram_log10"]
        edges = np.linspace(bins["low"], bins["high"], bins["bins"] + 1)
        density = np.array(bins["counts"]) / counted / np.diff(edges)
        name = _named(edit | {"variant": variant(edit["setting"])})
        at = {"edits": name, "n": edit["params"]["n"], "seed": edit["seed"]}
        for x, value in zip((edges[:-1] + edges[1:]) / 2, density, strict=True):
            rows.append(at | {"quantity": "density", "x": float(10**x), "value": float(value)})
        for key, share in found["almost_unchanged_share"].items():
            x = float(key.removeprefix("below_"))
            rows.append(at | {"quantity": key, "x": x, "value": share})
    return pd.DataFrame(rows)


def parameter_change(data: pd.DataFrame) -> Figure:
    """|delta| at scale 1: its distribution for each N, and the almost unchanged share over N.

    Args:
        data: of `changes`.

    Returns:
        A row of two panels per data set, method and variant.
    """
    panels = data["edits"].drop_duplicates().tolist()
    figure, axes = rows_of_panels(len(panels))
    for row, edits in zip(axes, panels, strict=True):
        part = data[data["edits"] == edits]
        _densities(row[0], part[part["quantity"] == "density"], edits)
        _unchanged(row[1], part[part["quantity"] != "density"])
    return figure


def _densities(axis: Axes, part: pd.DataFrame, title: str) -> None:
    numbers = sorted(part["n"].unique())
    for n, colour in zip(numbers, colours(len(numbers)), strict=True):
        curve = part[part["n"] == n].groupby("x")["value"].mean()
        seen = curve[curve > 0]
        axis.plot(seen.index, seen.values, color=colour, label=f"N = {n}")
    axis.set_xscale("log")
    axis.set_xlabel("|Δ| per parameter, at scale 1")
    axis.set_ylabel("Share of parameters per decade")
    axis.set_title(title, loc="left")
    legend(axis)


def _unchanged(axis: Axes, part: pd.DataFrame) -> None:
    keys = part.drop_duplicates("quantity").sort_values("x")
    for (_, key), colour in zip(keys.iterrows(), colours(len(keys)), strict=True):
        curve = part[part["quantity"] == key["quantity"]].groupby("n")["value"].mean()
        positions = range(len(curve))
        axis.plot(positions, curve.values, "o-", color=colour, label=f"|Δ| < {_power(key['x'])}")
        axis.set_xticks(positions, [str(n) for n in curve.index])
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_xlabel("Number of merged shards N")
    axis.set_ylabel("Almost unchanged parameters")
    legend(axis)


def _power(x: float) -> str:
    digits, exponent = f"{x:.0e}".split("e")
    factor = "" if digits == "1" else f"{digits}·"
    return rf"${factor.replace('·', chr(92) + 'cdot ')}10^{{{int(exponent)}}}$"


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
        curve = part[part[line] == value].sort_values(x)
        # N as equally spaced ticks: 1, 2, 5, 10 would crowd at the left
        at = curve[x].map(places.index) if x == "n" else curve[x]
        style = {"color": colour, "label": label.format(f"{value:g}")}
        axis.plot(at, curve["mean"], "o-", **style)
        if (curve["num_seeds"] > 1).any():
            axis.fill_between(at, curve["low"], curve["high"], color=colour, alpha=0.2, lw=0)
    if x == "n":
        axis.set_xticks(range(len(places)), [str(p) for p in places])
    elif len(places) <= MAX_TICKS:
        axis.set_xticks(places, [f"{p:g}" for p in places])


def legend(axis: Axes) -> None:
    """A legend beside the panel: no curve can run through it.

    Args:
        axis: with labelled lines.
    """
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def rows_of_panels(count: int, columns: int = 2) -> tuple[Figure, Any]:
    """A figure of so many rows.

    Args:
        count: rows.
        columns: panels in each.

    Returns:
        The figure, and its axes as an array (count, columns).
    """
    size = (plt.rcParams["figure.figsize"][0], ROW_INCHES * count)
    figure, axes = plt.subplots(count, columns, figsize=size, squeeze=False, layout="constrained")
    return figure, axes


def colours(count: int) -> np.ndarray:
    """Colours for values in order.

    Args:
        count: of values.

    Returns:
        (count, 4) RGBA, dark to light, distinct in grey as well.
    """
    return plt.get_cmap("viridis")(np.linspace(0.0, 0.85, count))


def _same(data: pd.DataFrame, panel: pd.Series) -> pd.DataFrame:
    keep = pd.Series(True, index=data.index)
    for column, value in panel.items():
        keep &= data[column].isna() if pd.isna(value) else data[column] == value
    return data[keep]


def _where(panel: pd.Series) -> str:
    scorer = "" if pd.isna(panel["scorer"]) else f", scored by {panel['scorer']}"
    return f"{_named(panel)}, on {panel['measured_on']}{scorer}"


def _named(edit: Any) -> str:
    """Data set, method and what the setting has beside N."""
    how = f" ({edit['variant']})" if edit["variant"] else ""
    return f"{edit['dataset']}, {edit['method']}{how}"
