"""Matrices in colours, with their numbers if there is room."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.image import AxesImage

MAX_NUMBERS = 40  # cells of a panel in which the values are written
EMPTY = {"facecolor": "white", "edgecolor": "0.8", "hatch": "//////"}  # cells without a colour
COLOUR_MAP = colormaps["viridis"]


def matrix(values: pd.Series, *keys: Iterable[Any]) -> np.ndarray:
    """Rows by the last but one key, columns by the last; NaN where there is no value.

    Args:
        keys: labels of each level of the index; all but the last two have one.
    """
    *_, rows, columns = map(list, keys)
    cells = values.reindex(pd.MultiIndex.from_product(keys))
    return cells.to_numpy(float).reshape(len(rows), len(columns))


def colour_range(values: pd.Series, norm: Any) -> Normalize:
    """A colour scale over these values; an arbitrary one if there are none."""
    known = values.dropna()
    return norm(known.min(), known.max()) if len(known) else norm(0.1, 1)


def heat_map(
    axis: Axes,
    cells: np.ndarray,
    norm: Normalize,
    number: str,
    aspect: Literal["auto", "equal"] = "auto",
) -> AxesImage:
    """A matrix in colours, with its numbers if there is room.

    A cell without a colour, such as one at or below 0 on a logarithmic scale, is hatched; it shows
    its number, or a minus sign where there is no room.
    """
    coloured = np.ma.masked_invalid(cells)
    if isinstance(norm, LogNorm):
        coloured = np.ma.masked_less_equal(coloured, 0)
    hidden = np.ma.getmaskarray(coloured)
    axis.patch.set(**EMPTY)
    axis.grid(False)
    image = axis.imshow(coloured, cmap=COLOUR_MAP, norm=norm, aspect=aspect)
    for (y, x), value in np.ndenumerate(cells):
        if np.isnan(value) or (cells.size > MAX_NUMBERS and not hidden[y, x]):
            continue
        # what is not coloured is at or below 0
        text = number.format(value) if cells.size <= MAX_NUMBERS else "−"
        dark = not hidden[y, x] and norm(value) < 0.5
        colour = "white" if dark else "black"
        behind = {"facecolor": "white", "lw": 0, "pad": 0.5} if hidden[y, x] else None
        axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=6, bbox=behind)
    return image


def thinned_ticks(side: Any, labels: list[str], most: int) -> None:
    """Labels at 0, 1, 2, ...; only every k-th of them, so that there are at most `most`."""
    step = -(-len(labels) // most)
    side.set_ticks(range(0, len(labels), step), labels[::step])
