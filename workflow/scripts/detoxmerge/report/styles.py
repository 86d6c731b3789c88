"""How a line looks: one colour and marker per method and N or operator, in every figure."""

import math
from typing import Any

import pandas as pd
from matplotlib import colormaps

from ..plan.registry import METHODS, OPERATORS

LARGEST_N = 32  # larger ones have the same shade, the lightest that shows on white
LIGHTEST = 0.85
MARKERS = "osD^vP*X<>"  # distinct without colour
DASHES = ("-", "--", "-.", ":")
# of methods without an N: first those distinct to the colour-blind (Okabe and Ito, "Color universal
# design"), then some more
PALETTE = (
    "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442",
    "#999999", "#A6761D", "#E7298A", "#66A61E",
)  # fmt: skip


def line_style(method: str, n: float | None, operator: str = "mean") -> dict[str, Any]:
    """Colour and marker of a method; those with an N go from dark to light with log N.

    Args:
        method: a name in `METHODS`.
        n: its N; missing for a method without one.
        operator: a name in `OPERATORS`; each but the mean has one colour for every N.

    Returns:
        `color` and `marker`, for `Axes.plot`.
    """
    colour: str | tuple[float, ...]
    if operator != "mean":
        rank = list(OPERATORS).index(operator)
        colour = colormaps["tab20"](rank)
    elif n is not None and not pd.isna(n):
        doublings = math.log2(n)
        shade = LIGHTEST * min(doublings / math.log2(LARGEST_N), 1.0)
        rank, colour = round(doublings), colormaps["viridis"](shade)
    else:
        without_n = [name for name in METHODS if not hasattr(METHODS[name], "MERGES")]
        rank = without_n.index(method)
        colour = PALETTE[rank % len(PALETTE)]
    return {"color": colour, "marker": MARKERS[rank % len(MARKERS)]}
