"""Shares of almost unchanged parameters and their ranges, for the figures that show them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter


def power(x: float) -> str:
    """A number as a factor of one digit and a power of ten, in Matplotlib's math text."""
    digits, exponent = f"{x:.0e}".split("e")
    factor = "" if digits == "1" else rf"{digits}\cdot "
    return rf"${factor}10^{{{int(exponent)}}}$"


def share_columns(spread: Mapping[str, float] | None) -> dict[str, float]:
    """`share`, `low` and `high`, as `mean_and_range` reads them; None is missing.

    Args:
        spread: `mean`, `low`, `high` over subsets of the shards, as in shards.json.
    """
    mean, low, high = ((spread or {}).get(key, np.nan) for key in ("mean", "low", "high"))
    return {"share": mean, "low": low, "high": high}


def mean_and_range(axis: Axes, data: pd.DataFrame, x: str, **style: Any) -> None:
    """A line of shares with the band from the lowest to the highest.

    Args:
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
