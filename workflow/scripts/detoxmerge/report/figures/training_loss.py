"""Training loss of every fine-tune over its steps."""

import pandas as pd
from matplotlib.figure import Figure

from ...storage.artefacts import certified
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
        entropy per token since the previous row, nats).
    """
    tunes = [tune for tune in inputs.grid.fine_tunes if tune.model == inputs.model]
    parts = []
    for tune, file in zip(tunes, inputs.files["losses"], strict=True):
        name = name_of_set(tune.dataset, tune.recipe)
        columns = {"set": name, "n": tune.n, "seed": tune.seed, "shard": tune.shard}
        file = certified(file.with_name("meta.json"), file.name)
        history = pd.read_csv(file)[["step", "epoch", "loss"]]
        parts.append(history.assign(**columns)[[*columns, *history.columns]])
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame) -> Figure:
    """A row of panels per set, a panel per N; a line per shard and seed, and their mean."""
    sets, numbers = data["set"].unique().tolist(), sorted(data["n"].unique())
    figure, axes = panels(sets, len(numbers), ROW_INCHES, sharey=True)
    for row, name in zip(axes, sets, strict=True):
        for axis, n in zip(row, numbers, strict=True):
            part = data[(data["set"] == name) & (data["n"] == n)]
            for _, line in part.groupby(["seed", "shard"]):
                axis.plot(line["step"], line["loss"], color="#56B4E9", lw=0.7, label="a shard")
            # only at steps that all lines have: a mean over fewer of them would jump
            by_step = part.groupby("step")["loss"].agg(["mean", "size"])
            num_lines = by_step["size"].max()
            if num_lines > 1:
                mean = by_step[by_step["size"] == num_lines]["mean"]
                axis.plot(mean, color="black", label="mean of the shards")
            axis.set_title(f"N = {n}")
            axis.set_xlabel("Optimizer step")
        row[0].set_ylabel("Training loss\n(nats per token)")
    legend_below(figure)
    return figure
