"""Figures of the parameter change beside its nulls: what a merged vector owes to its norm alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..measure.nulls import random_share_below, share_below, unchanged_share_at
from ..plan.registry import METHODS, merged_shards, params_of, recipe_of, replicates
from ..plan.slug import setting_slug
from ..storage.artefacts import read_json
from .figures import legend_below, named, panels, variant

ROW_INCHES = 2.0
EDGES = np.linspace(-12, 2, 141)  # log10 |delta|, tenths of a decade
SEEN = 1e-2  # share per decade below which a distribution is not shown

VECTOR, SHARD, SINGLE = "merged vector", "one of its shards", "N = 1 vector at the same norm"
RANDOM, SELECTED = "Gaussian at the same norm", "N = 1 vector at its selected scale"
# line styles and markers tell the curves apart in grey, too
STYLES: dict[str, dict[str, Any]] = {
    VECTOR: {"color": "black", "linestyle": "-", "marker": "o", "zorder": 3},
    SHARD: {"color": "#56B4E9", "linestyle": "--", "marker": "s"},
    SINGLE: {"color": "#D55E00", "linestyle": "-.", "marker": "^"},
    RANDOM: {"color": "#009E73", "linestyle": ":", "marker": "D"},
    SELECTED: {"color": "0.6", "linestyle": "-", "marker": "x"},
}


def densities(changes: list[Path], shards: list[Path]) -> pd.DataFrame:
    """What `parameter_change` shows: the distribution of |delta| at scale 1, and its nulls.

    Args:
        changes: `change.json` of the edits of one model, each with its `change.parquet`; edits
            without an N are left out.
        shards: `shards.json` of the model.

    Returns:
        A row per edit, curve and tenth of a decade: `edits` (data set, method, variant), `n`,
        `seed`, `curve` (a key of `STYLES`), `x` (|delta|), `value` (share of parameters per
        decade, structural zeros left out). A null whose measurement the study lacks has no rows.
    """
    middles = 10 ** ((EDGES[:-1] + EDGES[1:]) / 2)
    rows = []
    for edit in _joined(changes, shards):
        below = {VECTOR: share_below(edit["change"], EDGES), RANDOM: _random_below(edit["table"])}
        if edit["shards"]:
            below[SHARD] = share_below(edit["shards"]["one_shard"], EDGES)
        if edit["single"] and edit["n"] > 1:
            below[SINGLE] = share_below(edit["single"], EDGES - np.log10(_shrinkage(edit)))
        for curve, shares in below.items():
            at = {key: edit[key] for key in ("edits", "n", "seed")} | {"curve": curve}
            density = np.diff(shares) / np.diff(EDGES)
            rows += [at | {"x": x, "value": y} for x, y in zip(middles, density, strict=True)]
    return pd.DataFrame(rows)


def parameter_change(data: pd.DataFrame) -> Figure:
    """The distribution of |delta| for each N, and those of its nulls.

    Args:
        data: of `densities`; means over the seeds are drawn.

    Returns:
        A row of panels per data set, method and variant, a panel per N.
    """
    names, numbers = data["edits"].unique().tolist(), sorted(data["n"].unique())
    figure, axes = panels(names, len(numbers), ROW_INCHES, sharey=True)
    seen = data[data["value"] >= SEEN]["x"]
    for row, edits in zip(axes, names, strict=True):
        for axis, n in zip(row, numbers, strict=True):
            part = data[(data["edits"] == edits) & (data["n"] == n)]
            lines = part.groupby(["curve", "x"])["value"].mean()
            for curve in [c for c in STYLES if c in lines]:
                axis.plot(lines[curve], label=curve, **STYLES[curve] | {"marker": ""})
            axis.set_xscale("log")
            axis.set_xlim(seen.min(), seen.max())
            axis.set_title(f"N = {n}")
            axis.set_xlabel("|Δ| at scale 1")
        row[0].set_ylabel("Share of parameters\nper decade")
    legend_below(figure)
    return figure


def unchanged(
    changes: list[Path], shards: list[Path], selected: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """What `almost_unchanged` shows: the share below each threshold over N, and its nulls.

    Args:
        changes: `change.json` of the edits of one model; edits without an N are left out.
        shards: `shards.json` of the model.
        selected: the selected scale of N = 1 edits, by `{dataset}/{method}/{setting}/seed{seed}`.

    Returns:
        A row per edit, curve and threshold: `edits`, `n`, `seed`, `curve` (a key of `STYLES`),
        `threshold`, `share`; `low` and `high` over the shards, else equal to it. At N = 1 the
        vector is its own shard. A null whose measurement the study lacks has no rows.
    """
    rows = []
    for edit in _joined(changes, shards):
        for key, share in edit["change"]["almost_unchanged_share"].items():
            at = {name: edit[name] for name in ("edits", "n", "seed")}
            at["threshold"] = float(key.removeprefix("below_"))
            found = _nulls(edit, key, at["threshold"], selected or {}) | {VECTOR: share}
            if edit["n"] == 1:
                found[SHARD] = share
            rows += [
                at | {"curve": curve, "share": s, "low": s, "high": s} for curve, s in found.items()
            ]
            if edit["shards"]:
                one = edit["shards"]["curves"]["all"][0]["almost_unchanged_share"][key]
                rows.append(at | {"curve": SHARD} | spread(one))
    return pd.DataFrame(rows)


def chosen_scales(summary: pd.DataFrame, model: str) -> dict[str, float]:
    """The scale at which each edit would be used, by the first selector that chose one.

    Args:
        summary: summary.parquet.
        model: alias.

    Returns:
        `{dataset}/{method}/{setting}/seed{seed}` -> scale.
    """
    rows = summary[(summary["stage"] == "selection") & (summary["model"] == model)]
    rows = rows[rows["value"].notna()].drop_duplicates(["dataset", "method", "setting", "seed"])
    return {f"{r.dataset}/{r.method}/{r.setting}/seed{r.seed}": r.value for r in rows.itertuples()}


def almost_unchanged(data: pd.DataFrame) -> Figure:
    """The almost unchanged share over N: a merged vector's, and what averaging alone gives.

    Args:
        data: of `unchanged`; means over the seeds are drawn, and the range over shards and seeds.

    Returns:
        A row of panels per data set, method and variant, a panel per threshold.
    """
    names, thresholds = data["edits"].unique().tolist(), sorted(data["threshold"].unique())
    figure, axes = panels(names, len(thresholds), ROW_INCHES)
    for row, edits in zip(axes, names, strict=True):
        for axis, threshold in zip(row, thresholds, strict=True):
            part = data[(data["edits"] == edits) & (data["threshold"] == threshold)]
            numbers = sorted(part["n"].unique())
            for curve, style in STYLES.items():
                line = part[part["curve"] == curve]
                # N as equally spaced ticks: 1, 2, 5, 10 would crowd at the left
                at = line.assign(place=line["n"].map(numbers.index))
                if len(line):
                    mean_and_range(axis, at, "place", label=curve, **style)
            axis.set_xticks(range(len(numbers)), [str(n) for n in numbers])
            axis.set_title(f"|Δ| < {power(threshold)}")
            axis.set_xlabel("Merged shards N")
        row[0].set_ylabel("Almost unchanged\nparameters")
    legend_below(figure)
    return figure


def _joined(changes: list[Path], shards: list[Path]) -> list[dict[str, Any]]:
    """Edits with an N, each beside its shards and the N = 1 edit that it is compared with."""
    sets = {}
    for content in map(read_json, shards):
        of = content["shards"]
        sets[of["dataset"], of["recipe"], of["n"], of["seed"]] = content
    found = []
    for path in changes:
        change = read_json(path)
        edit = change["edit"]
        which = edit["method"], edit["params"]
        n, recipe = merged_shards(*which), recipe_of(*which)
        if n is None or edit["method"] in replicates():
            continue
        at = {"edits": named(edit | {"variant": variant(edit["setting"])}), "n": n}
        at |= {"seed": edit["seed"], "change": change, "table": path.with_suffix(".parquet")}
        found.append(at | {"shards": sets.get((edit["dataset"], recipe, n, edit["seed"]))})
    singles = {_key(one["change"]["edit"]): one["change"] for one in found if one["n"] == 1}
    return [one | {"single": _single(one["change"], singles)} for one in found]


def _key(edit: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(edit[name] for name in ("dataset", "method", "setting", "seed"))


def _single(change: Mapping[str, Any], singles: Mapping[tuple[str, ...], Any]) -> Any:
    """The N = 1 vector that the headline, too, compares with; none beside a vector of zeros."""
    edit = change["edit"]
    method, params = METHODS[edit["method"]], params_of(edit["method"], edit["params"])
    if not hasattr(method, "single_of"):
        return None
    wanted = setting_slug(method.single_of(params.model_validate(edit["params"])))
    found = singles.get(_key({**edit, "setting": wanted}))
    return found if found and found["l2_norm"] and change["l2_norm"] else None


def _shrinkage(edit: Mapping[str, Any]) -> float:
    """What brings the N = 1 vector to the norm of this one."""
    return edit["change"]["l2_norm"] / edit["single"]["l2_norm"]


def _nulls(
    edit: Mapping[str, Any], key: str, threshold: float, selected: Mapping[str, float]
) -> dict[str, float]:
    found = {RANDOM: edit["change"]["norm_matched_random_share"][key]}
    if not edit["single"]:
        return found
    of = edit["single"]["edit"]
    scale = selected.get(f"{of['dataset']}/{of['method']}/{of['setting']}/seed{of['seed']}")
    found[SINGLE] = unchanged_share_at(edit["single"], _shrinkage(edit), threshold)
    if scale is not None:
        found[SELECTED] = unchanged_share_at(edit["single"], scale, threshold)
    return found


def _random_below(table: Path) -> np.ndarray:
    """The distribution function of a Gaussian vector with the norm of each tensor, at `EDGES`."""
    rows = pd.read_parquet(table)
    counted = rows["elements"] - rows["structural_zeros"]
    return np.array([random_share_below(10**edge, rows["l2"], counted) for edge in EDGES])


def power(x: float) -> str:
    """A number as a factor and a power of ten.

    Args:
        x: for example 2e-5; one digit is shown.

    Returns:
        Matplotlib's math text.
    """
    digits, exponent = f"{x:.0e}".split("e")
    factor = "" if digits == "1" else rf"{digits}\cdot "
    return rf"${factor}10^{{{int(exponent)}}}$"


def spread(of_subsets: Mapping[str, float] | None) -> dict[str, float]:
    """A mean and its range as `mean_and_range` reads them.

    Args:
        of_subsets: `mean`, `low`, `high`; None is missing.

    Returns:
        `share`, `low`, `high`.
    """
    mean, low, high = ((of_subsets or {}).get(key, np.nan) for key in ("mean", "low", "high"))
    return {"share": mean, "low": low, "high": high}


def mean_and_range(axis: Axes, data: pd.DataFrame, x: str, **style: Any) -> None:
    """A line of shares with the band from the lowest to the highest.

    Args:
        axis: where.
        data: `share`, `low`, `high`; rows with the same x (seeds) are averaged, ranges joined.
        x: column.
        style: of the line.
    """
    line = data.groupby(x).agg({"share": "mean", "low": "min", "high": "max"})
    axis.plot(line.index, line["share"], **style)
    if (line["low"] < line["high"]).any():
        axis.fill_between(
            line.index, line["low"], line["high"], color=style["color"], alpha=0.2, lw=0
        )
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
