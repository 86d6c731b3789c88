"""Training loss of every fine-tune over its steps."""

import pandas as pd
from matplotlib.figure import Figure

from ..drawing import legend_below, panels
from ..inputs import Inputs
from ..shard_sets import name_of_set

TITLE = "5.1 Training loss"
CATEGORY = "5 Shards"
NEEDS = ("losses",)
ONLY_IF = "fine_tunes"
ROW_INCHES = 2.0


def table(inputs: Inputs) -> pd.DataFrame:
    """Every fine-tune's loss history.

    Returns:
        A row per logged step: `set`, `n`, `seed`, `shard`, `step`, `epoch`, `loss` (mean cross
        entropy per token since the step before, nats).
    """
    tunes = [tune for tune in inputs.grid.fine_tunes if tune.model == inputs.model]
    parts = []
    for tune, file in zip(tunes, inputs.files["losses"], strict=True):
        at = {"set": name_of_set(tune.dataset, tune.recipe), "n": tune.n, "seed": tune.seed}
        history = pd.read_csv(file)[["step", "epoch", "loss"]]
        parts.append(history.assign(**at, shard=tune.shard)[[*at, "shard", *history.columns]])
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame) -> Figure:
    """A row of panels per set, a panel per N; a line per shard and seed, and their mean."""
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
