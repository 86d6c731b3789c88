"""The almost unchanged share over the number of averaged shards, from one set of fine-tunes."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..drawing import legend_below, panels
from ..inputs import Inputs
from ..shard_sets import each_set
from ..shares import mean_and_range, power, share_columns
from ..styles import line_style

TITLE = "5.4 Means of k shards"
CATEGORY = "5 Shards"
NEEDS = ("shard_statistics",)
ONLY_IF = "shard_sets"
ROW_INCHES = 2.0
MEAN, RANDOM = "mean of k of the N shards", "Gaussian at its norm"
# curve -> its shares in shards.json
SHARES = {MEAN: "almost_unchanged_share", RANDOM: "norm_matched_random_share"}


def table(inputs: Inputs) -> pd.DataFrame:
    """The almost unchanged share of the mean of k of N shards.

    Returns:
        A row per set, k, curve and threshold: `set` (data set, recipe), `n`, `seed`, `parameters`
        (``all``, ``without_embeddings``), `k`, `num_subsets`, `num_possible`, `threshold`, `curve`
        (`MEAN`, `RANDOM`), `share`; `low` and `high` over the subsets.
    """
    return pd.DataFrame(
        columns | {"parameters": parameters} | row
        for columns, content in each_set(inputs.files["shard_statistics"])
        for parameters, points in content["curves"].items()
        for point in points
        for row in _rows_of(point)
    )


def _rows_of(point: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row per curve and threshold, of one k."""
    counts = {key: point[key] for key in ("k", "num_subsets", "num_possible")}
    for curve, kind in SHARES.items():
        for key, spread in point[kind].items():
            threshold = float(key.removeprefix("below_"))
            yield counts | {"threshold": threshold, "curve": curve} | share_columns(spread)


def draw(data: pd.DataFrame) -> Figure:
    """A row of panels per set, with and without embeddings, a panel per threshold; a line per N.

    Lines are means over the seeds, bands the range over subsets and seeds.
    """
    rows = data[["set", "parameters"]].drop_duplicates().itertuples(index=False)
    thresholds, numbers = sorted(data["threshold"].unique()), sorted(data["n"].unique())
    rows = {
        f"{name}, parameters: {parameters.replace('_', ' ')}": (name, parameters)
        for name, parameters in rows
    }
    figure, axes = panels(list(rows), len(thresholds), ROW_INCHES)
    for row, (name, parameters) in zip(axes, rows.values(), strict=True):
        for axis, threshold in zip(row, thresholds, strict=True):
            part = data[(data["set"] == name) & (data["parameters"] == parameters)]
            part = part[part["threshold"] == threshold]
            for n in numbers:
                _over_k(axis, part[part["n"] == n], f"N = {n}", line_style("merge", n)["color"])
            axis.set_title(f"|Δ| < {power(threshold)}")
            axis.set_xlabel("Averaged shards k")
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        row[0].set_ylabel("Almost unchanged\nparameters")
    # one entry for the dotted lines of every N
    axes[0, 0].plot([], [], ":", color="black", label=RANDOM)
    legend_below(figure)
    return figure


def _over_k(axis: Axes, data: pd.DataFrame, label: str, colour: Any) -> None:
    """The lines of one N: of the shards, and of noise of the same norm."""
    for curve, style in ((RANDOM, {"linestyle": ":"}), (MEAN, {"marker": "o", "label": label})):
        line = data[data["curve"] == curve]
        if len(line):
            mean_and_range(axis, line, "k", color=colour, markersize=2.5, **style)
