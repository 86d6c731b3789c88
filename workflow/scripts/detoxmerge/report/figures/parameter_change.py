"""The distribution of |delta| for each N, beside those of its nulls.

The density is the share of the parameters per decade of |delta| at scale 1, without structural
zeros.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...measure.nulls import random_share_below, share_below
from ...storage.artefacts import certified
from ..change_nulls import RANDOM, SHARD, SINGLE, STYLES, VECTOR, edits_beside_nulls, shrinkage
from ..drawing import legend_below, panels
from ..inputs import Inputs

TITLE = "4.1 Parameter change"
CATEGORY = "4 Parameters"
NEEDS = ("changes", "change_tables", "shard_statistics")
ONLY_IF = "merged_edits"
ROW_INCHES = 2.0
EDGES = np.linspace(-12, 2, 141)  # log10 |delta|, tenths of a decade
VISIBLE = 1e-2  # share per decade from which on a distribution decides the x-axis


def table(inputs: Inputs) -> pd.DataFrame:
    """The distribution of |delta| at scale 1, and its nulls.

    Returns:
        A row per edit, curve (a key of `change_nulls.STYLES`) and tenth of a decade: `edits` (data
        set, method, variant), `n`, `seed`, `curve`, `x` (|delta|), `value` (share of parameters per
        decade, without structural zeros). A null whose measurement the study lacks has no rows.
    """
    middles = 10 ** ((EDGES[:-1] + EDGES[1:]) / 2)
    rows = []
    for edit in edits_beside_nulls(inputs.files["changes"], inputs.files["shard_statistics"]):
        below = {VECTOR: share_below(edit["change"], EDGES), RANDOM: _random_below(edit["table"])}
        if edit["shards"]:
            below[SHARD] = share_below(edit["shards"]["one_shard"], EDGES)
        if edit["single"] and edit["n"] > 1:
            # |factor * delta| is below an edge where |delta| is below edge / factor
            below[SINGLE] = share_below(edit["single"], EDGES - np.log10(shrinkage(edit)))
        for curve, shares in below.items():
            columns = {key: edit[key] for key in ("edits", "n", "seed")} | {"curve": curve}
            density = np.diff(shares) / np.diff(EDGES)
            rows += [columns | {"x": x, "value": y} for x, y in zip(middles, density, strict=True)]
    return pd.DataFrame(rows)


def draw(data: pd.DataFrame) -> Figure:
    """A row of panels per data set, method and variant, a panel per N; means over the seeds."""
    names, numbers = data["edits"].unique().tolist(), sorted(data["n"].unique())
    figure, axes = panels(names, len(numbers), ROW_INCHES, sharey=True)
    visible = data[data["value"] >= VISIBLE]["x"]
    for row, edits in zip(axes, names, strict=True):
        for axis, n in zip(row, numbers, strict=True):
            part = data[(data["edits"] == edits) & (data["n"] == n)]
            lines = part.groupby(["curve", "x"])["value"].mean()
            for curve in [c for c in STYLES if c in lines]:
                axis.plot(lines[curve], label=curve, **STYLES[curve] | {"marker": ""})
            axis.set_xscale("log")
            axis.set_xlim(visible.min(), visible.max())
            axis.set_title(f"N = {n}")
            axis.set_xlabel("|Δ| at scale 1")
        row[0].set_ylabel("Share of parameters\nper decade")
    legend_below(figure)
    return figure


def _random_below(table: Path) -> np.ndarray:
    """At `EDGES`, the distribution function of a Gaussian vector with the norm of each tensor."""
    rows = pd.read_parquet(certified(table.with_suffix(".json"), table.name))
    counted = rows["elements"] - rows["structural_zeros"]
    return np.array([random_share_below(10**edge, rows["l2"], counted) for edge in EDGES])
