"""Maps of what the shards of a fine-tuning set share: signal by layer and module, and cosines."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator

from ..measure.change import MODULE_WORDS
from .figures import note_below, panels
from .shard_figures import each_set

ROW_INCHES = 2.0
MAX_NUMBERS = 40  # cells of a panel in which the values are written
EMPTY = {"facecolor": "white", "edgecolor": "0.8", "hatch": "//////"}  # cells without a colour
COLOUR_MAP = colormaps["viridis"]


def signal_to_noise(shards: list[Path]) -> pd.DataFrame:
    """What `shard_snr` shows.

    Args:
        shards: `shards.json` of one model.

    Returns:
        A row per set, layer and module type: `set`, `n`, `seed`, `layer` (null: outside of the
        blocks), `module`, `signal_energy`, `noise_energy`, `snr` (null: without noise).
    """
    keys = ("layer", "module", "signal_energy", "noise_energy", "snr")
    rows = [
        at | {key: group[key] for key in keys}
        for at, content in each_set(shards)
        for group in content["groups"]
        if group["scope"] == "layer_module"
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(layer=frame["layer"].astype("Int64"))


def shard_snr(data: pd.DataFrame) -> Figure:
    """Signal-to-noise ratio of the shards' vectors in each layer and module type.

    Args:
        data: of `signal_to_noise`; the energies of several seeds are added.

    Returns:
        A row per N, a panel per data set and recipe. Ratios at or below 0 are marked, not coloured.
    """
    sets, numbers = data["set"].unique().tolist(), sorted(data["n"].unique())
    modules = [m for m in (*MODULE_WORDS, "other") if m in set(data["module"])]
    layers = [*sorted(data["layer"].dropna().unique()), -1]
    defined = data.assign(layer=data["layer"].fillna(-1)).dropna(subset="snr")
    by = defined.groupby(["set", "n", "module", "layer"])
    snr = by["signal_energy"].sum() / by["noise_energy"].sum()
    norm = _range(snr[snr > 0], LogNorm)
    height = 0.6 + 0.2 * len(modules)
    figure, axes = panels([f"N = {n}" for n in numbers], len(sets), height, sharey=True)
    for row, n in zip(axes, numbers, strict=True):
        for axis, of in zip(row, sets, strict=True):
            image = _heat(axis, _matrix(snr, [of], [n], modules, layers), norm, "{:.3g}")
            _ticks(axis.xaxis, [*map(str, layers[:-1]), "–"], most=14)
            axis.set_yticks(range(len(modules)), modules)
            axis.set_title(of)
            axis.set_xlabel("Block (–: outside of the blocks)")
        ticks = LogLocator(subs=(1, 2, 5))  # a range may hold a single power of ten, or none
        bar = figure.colorbar(image, ax=list(row), label="Signal / noise", ticks=ticks, format="%g")
        bar.minorticks_off()
    note_below(figure, "Hatched: nothing to compare; with a number or −: a ratio at or below 0.")
    return figure


def cosines(shards: list[Path]) -> pd.DataFrame:
    """What `shard_cosines` shows.

    Args:
        shards: `shards.json` of one model.

    Returns:
        A row per pair of different shards: `set`, `n`, `seed`, `shard_a`, `shard_b`, `cosine`: of
        all parameters where a > b, without embeddings where a < b; null with a zero vector.
    """
    rows = []
    for at, content in each_set(shards):
        below, above = (content["cosines"][key] for key in ("all", "without_embeddings"))
        rows += [
            at | {"shard_a": a, "shard_b": b, "cosine": (below if a > b else above)[a][b]}
            for a in range(at["n"])
            for b in range(at["n"])
            if a != b
        ]
    return pd.DataFrame(rows)


def shard_cosines(data: pd.DataFrame) -> Figure:
    """Cosines between the shards' vectors.

    Args:
        data: of `cosines`; means over the seeds are drawn.

    Returns:
        A row of panels per set, a panel per N; all parameters below the diagonal, those without
        embeddings above it.
    """
    sets, numbers = data["set"].unique().tolist(), sorted(data["n"].unique())
    mean = data.groupby(["set", "n", "shard_a", "shard_b"])["cosine"].mean()
    norm = _range(mean, Normalize)
    figure, axes = panels(sets, len(numbers), ROW_INCHES)
    for row, of in zip(axes, sets, strict=True):
        for axis, n in zip(row, numbers, strict=True):
            cells = _matrix(mean, [of], [n], range(n), range(n))
            image = _heat(axis, cells, norm, "{:.2f}", aspect="equal")
            for side in (axis.xaxis, axis.yaxis):
                _ticks(side, list(map(str, range(n))), most=6)
            axis.set_title(f"N = {n}")
            axis.set_xlabel("Shard")
        row[0].set_ylabel("Shard")
        figure.colorbar(image, ax=list(row), label="Cosine")
    note_below(figure, "Below the diagonal: all parameters. Above it: without embeddings.")
    return figure


def _matrix(values: pd.Series, *keys: Iterable[Any]) -> np.ndarray:
    """Rows by the last but one key, columns by the last; NaN where there is no value."""
    *_, rows, columns = map(list, keys)
    found = values.reindex(pd.MultiIndex.from_product(keys))
    return found.to_numpy(float).reshape(len(rows), len(columns))


def _range(values: pd.Series, norm: Any) -> Normalize:
    """A colour scale over these values, or any if there are none."""
    seen = values.dropna()
    return norm(seen.min(), seen.max()) if len(seen) else norm(0.1, 1)


def _heat(
    axis: Axes, cells: np.ndarray, norm: Normalize, number: str, aspect: str = "auto"
) -> AxesImage:
    """A matrix in colours; with its numbers where there is room for them."""
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
        text = number.format(value) if cells.size <= MAX_NUMBERS else "−"
        dark = not hidden[y, x] and norm(value) < 0.5
        colour = "white" if dark else "black"
        behind = {"facecolor": "white", "lw": 0, "pad": 0.5} if hidden[y, x] else None
        axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=6, bbox=behind)
    return image


def _ticks(side: Any, labels: list[str], most: int) -> None:
    step = -(-len(labels) // most)
    side.set_ticks(range(0, len(labels), step), labels[::step])
