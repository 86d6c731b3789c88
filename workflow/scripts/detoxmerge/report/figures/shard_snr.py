"""Signal-to-noise ratio of the task vectors of shards in each layer and module type."""

import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ...measure.change import MODULE_WORDS
from ..drawing import note_below, panels
from ..heat_maps import colour_range, heat_map, matrix, thinned_ticks
from ..inputs import Inputs
from ..shard_sets import each_set

TITLE = "5.3 Signal and noise of shards"
CATEGORY = "5 Shards"
NEEDS = ("shard_statistics",)
ONLY_IF = "shard_sets"


def table(inputs: Inputs) -> pd.DataFrame:
    """Signal, noise and their ratio.

    Returns:
        A row per set, layer and module type: `set`, `n`, `seed`, `layer` (null outside the
        blocks), `module`, `signal_energy`, `noise_energy`, `snr` (null without noise).
    """
    keys = ("layer", "module", "signal_energy", "noise_energy", "snr")
    rows = [
        columns | {key: group[key] for key in keys}
        for columns, content in each_set(inputs.files["shard_statistics"])
        for group in content["groups"]
        if group["scope"] == "layer_module"
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(layer=frame["layer"].astype("Int64"))


def draw(data: pd.DataFrame) -> Figure:
    """A row per N, a panel per data set and recipe; the energies of several seeds are added.

    Ratios at or below 0 are marked, not coloured.
    """
    # modules in the order of the model, layers with the one outside the blocks at the end
    sets, numbers = data["set"].unique().tolist(), sorted(data["n"].unique())
    modules = [kind for kind in (*MODULE_WORDS, "other") if kind in set(data["module"])]
    layers = [*sorted(data["layer"].dropna().unique()), -1]
    defined = data.assign(layer=data["layer"].fillna(-1)).dropna(subset="snr")
    cells = defined.groupby(["set", "n", "module", "layer"])
    snr = cells["signal_energy"].sum() / cells["noise_energy"].sum()
    norm = colour_range(snr[snr > 0], LogNorm)
    height = 0.6 + 0.2 * len(modules)
    figure, axes = panels([f"N = {n}" for n in numbers], len(sets), height, sharey=True)
    for row, n in zip(axes, numbers, strict=True):
        for axis, name in zip(row, sets, strict=True):
            image = heat_map(axis, matrix(snr, [name], [n], modules, layers), norm, "{:.3g}")
            thinned_ticks(axis.xaxis, [*map(str, layers[:-1]), "–"], most=14)
            axis.set_yticks(range(len(modules)), modules)
            axis.set_title(name)
            axis.set_xlabel("Block (–: outside of the blocks)")
        ticks = LogLocator(subs=(1, 2, 5))  # the range may have no power of ten
        bar = figure.colorbar(image, ax=list(row), label="Signal / noise", ticks=ticks, format="%g")
        bar.minorticks_off()
    note_below(figure, "Hatched: nothing to compare; with a number or −: a ratio at or below 0.")
    return figure
