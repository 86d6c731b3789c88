"""The almost unchanged share of merged vectors over N, and what averaging alone gives."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...measure.nulls import unchanged_share_at
from ..change_nulls import (
    RANDOM,
    SELECTED,
    SHARD,
    SINGLE,
    STYLES,
    VECTOR,
    edits_beside_nulls,
    shrinkage,
)
from ..drawing import legend_below, panels
from ..inputs import Inputs
from ..shares import mean_and_range, power, share_columns

TITLE = "4.2 Almost unchanged parameters"
CATEGORY = "4 Parameters"
NEEDS = ("summary", "changes", "shard_statistics")
ONLY_IF = "merged_edits"
ROW_INCHES = 2.0


def table(inputs: Inputs) -> pd.DataFrame:
    """The share below each threshold over N, and its nulls.

    Returns:
        A row per edit, curve (a key of `change_nulls.STYLES`) and threshold: `edits`, `n`, `seed`,
        `curve`, `threshold`, `share`; `low` and `high` over the shards, for other curves equal to
        `share`. At N = 1 the vector is also its only shard. A null whose measurement the study
        lacks has no rows.
    """
    rows, selected = [], selected_scales(inputs.summary, inputs.model)
    for edit in edits_beside_nulls(inputs.files["changes"], inputs.files["shard_statistics"]):
        columns = {name: edit[name] for name in ("edits", "n", "seed")}
        for key, vector_share in edit["change"]["almost_unchanged_share"].items():
            threshold = float(key.removeprefix("below_"))
            at_threshold = columns | {"threshold": threshold}
            shares = _nulls(edit, key, threshold, selected) | {VECTOR: vector_share}
            if edit["n"] == 1:
                shares[SHARD] = vector_share
            for curve, share in shares.items():
                numbers = {"share": share, "low": share, "high": share}
                rows.append(at_threshold | {"curve": curve} | numbers)
            # only the shards have a range
            if edit["shards"]:
                shard = edit["shards"]["curves"]["all"][0]["almost_unchanged_share"][key]
                rows.append(at_threshold | {"curve": SHARD} | share_columns(shard))
    return pd.DataFrame(rows)


def selected_scales(summary: pd.DataFrame, model: str) -> dict[str, float]:
    """`{dataset}/{method}/{setting}/seed{seed}` -> scale, by the first selector that chose one."""
    rows = summary[(summary["stage"] == "selection") & (summary["model"] == model)]
    rows = rows[rows["value"].notna()].drop_duplicates(["dataset", "method", "setting", "seed"])
    return {f"{r.dataset}/{r.method}/{r.setting}/seed{r.seed}": r.value for r in rows.itertuples()}


def draw(data: pd.DataFrame) -> Figure:
    """A row of panels per data set, method and variant, a panel per threshold.

    Lines are means over the seeds, bands the range over shards and seeds.
    """
    names, thresholds = data["edits"].unique().tolist(), sorted(data["threshold"].unique())
    figure, axes = panels(names, len(thresholds), ROW_INCHES)
    for row, edits in zip(axes, names, strict=True):
        for axis, threshold in zip(row, thresholds, strict=True):
            part = data[(data["edits"] == edits) & (data["threshold"] == threshold)]
            numbers = sorted(part["n"].unique())
            for curve, style in STYLES.items():
                line = part[part["curve"] == curve]
                # N is equally spaced, since 1, 2, 5, 10 would crowd at the left
                line = line.assign(position=line["n"].map(numbers.index))
                if len(line):
                    mean_and_range(axis, line, "position", label=curve, **style)
            axis.set_xticks(range(len(numbers)), [str(n) for n in numbers])
            axis.set_title(f"|Δ| < {power(threshold)}")
            axis.set_xlabel("Merged shards N")
        row[0].set_ylabel("Almost unchanged\nparameters")
    legend_below(figure)
    return figure


def _nulls(
    edit: Mapping[str, Any], key: str, threshold: float, selected: Mapping[str, float]
) -> dict[str, float]:
    """The shares that do not need the shards, by curve."""
    shares = {RANDOM: edit["change"]["norm_matched_random_share"][key]}
    if not edit["single"]:
        return shares
    shares[SINGLE] = unchanged_share_at(edit["single"], shrinkage(edit), threshold)
    name = "{dataset}/{method}/{setting}/seed{seed}".format(**edit["single"]["edit"])
    if name in selected:
        shares[SELECTED] = unchanged_share_at(edit["single"], selected[name], threshold)
    return shares
