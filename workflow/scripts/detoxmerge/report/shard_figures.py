"""Figures of the shards of a fine-tuning set: how they were trained, and what averaging does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..plan.edits import FineTune
from ..storage.artefacts import read_json
from .change_figures import mean_and_range, power, spread
from .figures import legend_below, panels
from .styles import line_style

ROW_INCHES = 2.0
MEAN, RANDOM = "mean of k of the N shards", "Gaussian at its norm"


def subsets(shards: list[Path]) -> pd.DataFrame:
    """What `shard_subsets` shows: the almost unchanged share of the mean of k of N shards.

    Args:
        shards: `shards.json` of one model.

    Returns:
        A row per set, k, curve and threshold: `set` (data set, recipe), `n`, `seed`, `parameters`
        (``all``, ``without_embeddings``), `k`, `num_subsets`, `num_possible`, `threshold`, `curve`
        (`MEAN`, `RANDOM`), `share`; `low` and `high` over the subsets.
    """
    kinds = {"almost_unchanged_share": MEAN, "norm_matched_random_share": RANDOM}
    rows = []
    for at, content in each_set(shards):
        for parameters, points in content["curves"].items():
            for point in points:
                of = at | {"parameters": parameters}
                of |= {key: point[key] for key in ("k", "num_subsets", "num_possible")}
                for kind, curve in kinds.items():
                    for key, share in point[kind].items():
                        threshold = float(key.removeprefix("below_"))
                        rows.append(of | {"threshold": threshold, "curve": curve} | spread(share))
    return pd.DataFrame(rows)


def shard_subsets(data: pd.DataFrame) -> Figure:
    """The almost unchanged share over the number of averaged shards, from one set of fine-tunes.

    Args:
        data: of `subsets`; means over the seeds are drawn, and the range over subsets and seeds.

    Returns:
        A row of panels per set, with and without embeddings, a panel per threshold; a line per N.
    """
    rows = data[["set", "parameters"]].drop_duplicates().itertuples(index=False)
    thresholds, numbers = sorted(data["threshold"].unique()), sorted(data["n"].unique())
    rows = {f"{of}, parameters: {which.replace('_', ' ')}": (of, which) for of, which in rows}
    figure, axes = panels(list(rows), len(thresholds), ROW_INCHES)
    for row, (of, which) in zip(axes, rows.values(), strict=True):
        for axis, threshold in zip(row, thresholds, strict=True):
            part = data[(data["set"] == of) & (data["parameters"] == which)]
            part = part[part["threshold"] == threshold]
            for n in numbers:
                _over_k(axis, part[part["n"] == n], f"N = {n}", line_style("merge", n)["color"])
            axis.set_title(f"|Δ| < {power(threshold)}")
            axis.set_xlabel("Averaged shards k")
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        row[0].set_ylabel("Almost unchanged\nparameters")
    axes[0, 0].plot([], [], ":", color="black", label=RANDOM)
    legend_below(figure)
    return figure


def losses(fine_tunes: list[FineTune], files: list[Path]) -> pd.DataFrame:
    """What `training_loss` shows.

    Args:
        fine_tunes: of one model.
        files: the `loss.csv` of each.

    Returns:
        A row per logged step: `set`, `n`, `seed`, `shard`, `step`, `epoch`, `loss` (mean cross
        entropy per token since the step before, nats).
    """
    parts = []
    for tune, file in zip(fine_tunes, files, strict=True):
        at = {"set": _named(tune.dataset, tune.recipe), "n": tune.n, "seed": tune.seed}
        history = pd.read_csv(file)[["step", "epoch", "loss"]]
        parts.append(history.assign(**at, shard=tune.shard)[[*at, "shard", *history.columns]])
    return pd.concat(parts, ignore_index=True)


def training_loss(data: pd.DataFrame) -> Figure:
    """Training loss of every fine-tune over its steps.

    Args:
        data: of `losses`; a line per shard and seed.

    Returns:
        A row of panels per set, a panel per N.
    """
    sets, numbers = data["set"].unique().tolist(), sorted(data["n"].unique())
    figure, axes = panels(sets, len(numbers), ROW_INCHES, sharey=True)
    for row, of in zip(axes, sets, strict=True):
        for axis, n in zip(row, numbers, strict=True):
            part = data[(data["set"] == of) & (data["n"] == n)]
            for _, line in part.groupby(["seed", "shard"]):
                axis.plot(line["step"], line["loss"], color="#56B4E9", lw=0.7, label="a shard")
            every = part.groupby("step")["loss"].agg(["mean", "size"])
            if every["size"].max() > 1:  # where all lines have a point
                mean = every[every["size"] == every["size"].max()]["mean"]
                axis.plot(mean, color="black", label="mean of the shards")
            axis.set_title(f"N = {n}")
            axis.set_xlabel("Optimizer step")
        row[0].set_ylabel("Training loss\n(nats per token)")
    legend_below(figure)
    return figure


def each_set(shards: list[Path]) -> Iterator[tuple[dict[str, Any], Any]]:
    """The measured sets of fine-tunes.

    Args:
        shards: `shards.json` of one model.

    Yields:
        `set` (data set, recipe), `n` and `seed`; the content of the manifest.
    """
    for content in map(read_json, shards):
        of = content["shards"]
        at = {"set": _named(of["dataset"], of["recipe"]), "n": of["n"], "seed": of["seed"]}
        yield at, content


def _named(dataset: str, recipe: str) -> str:
    return dataset if recipe == "default" else f"{dataset} (recipe={recipe})"


def _over_k(axis: Axes, data: pd.DataFrame, label: str, colour: Any) -> None:
    """The lines of one N: of the shards, and of noise of the same norm."""
    for curve, how in ((RANDOM, {"linestyle": ":"}), (MEAN, {"marker": "o", "label": label})):
        line = data[data["curve"] == curve]
        if len(line):
            mean_and_range(axis, line, "k", color=colour, markersize=2.5, **how)
