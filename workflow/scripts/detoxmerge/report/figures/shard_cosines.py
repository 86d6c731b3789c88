"""Cosines between the task vectors of shards, with and without embeddings."""

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..drawing import note_below, panels
from ..heat_maps import colour_range, heat_map, matrix, thinned_ticks
from ..inputs import Inputs
from ..shard_sets import each_set

TITLE = "5.2 Cosines between shards"
CATEGORY = "5 Shards"
NEEDS = ("shard_statistics",)
ONLY_IF = "shard_sets"
ROW_INCHES = 2.0


def table(inputs: Inputs) -> pd.DataFrame:
    """The cosine of every pair of shards.

    Returns:
        A row per pair of different shards: `set`, `n`, `seed`, `shard_a`, `shard_b` and `cosine`,
        which is that of all parameters where a > b, without embeddings where a < b, and null with
        a zero vector.
    """
    rows = []
    for columns, content in each_set(inputs.files["shard_statistics"]):
        below, above = (content["cosines"][key] for key in ("all", "without_embeddings"))
        rows += [
            columns | {"shard_a": a, "shard_b": b, "cosine": (below if a > b else above)[a][b]}
            for a in range(columns["n"])
            for b in range(columns["n"])
            if a != b
        ]
    return pd.DataFrame(rows)


def draw(data: pd.DataFrame) -> Figure:
    """A row of panels per set, a panel per N; means over the seeds.

    Below the diagonal are cosines of all parameters, above it those without embeddings.
    """
    sets, numbers = data["set"].unique().tolist(), sorted(data["n"].unique())
    mean = data.groupby(["set", "n", "shard_a", "shard_b"])["cosine"].mean()
    norm = colour_range(mean, Normalize)
    figure, axes = panels(sets, len(numbers), ROW_INCHES)
    for row, name in zip(axes, sets, strict=True):
        for axis, n in zip(row, numbers, strict=True):
            cells = matrix(mean, [name], [n], range(n), range(n))
            image = heat_map(axis, cells, norm, "{:.2f}", aspect="equal")
            for side in (axis.xaxis, axis.yaxis):
                thinned_ticks(side, list(map(str, range(n))), most=6)
            axis.set_title(f"N = {n}")
            axis.set_xlabel("Shard")
        row[0].set_ylabel("Shard")
        figure.colorbar(image, ax=list(row), label="Cosine")
    note_below(figure, "Below the diagonal: all parameters. Above it: without embeddings.")
    return figure
