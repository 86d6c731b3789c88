"""The headline: how much less merged task vectors cost than a single one, at the same toxicity."""

import math
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ...plan.edits import Edit
from ...plan.entries import protocol
from ...plan.grid import Grid
from ...plan.registry import METHODS, left_out, merged_shards
from ...plan.slug import setting_slug
from ..comparison import Comparison, Curve, compare, reduction
from ..curves import curve_of
from ..formats import Table
from ..inputs import Inputs
from ..statistics import Interval, jackknife, prompts_needed

TITLE = "2.1 Degradation reduction"
CATEGORY = "2 Tables"
NEEDS = ("summary", "measured")
BESIDE = ("levels",)
HALF_WIDTH = 0.005  # of mean toxicity, for the number of prompts that would be needed


def table(inputs: Inputs) -> Table:
    """Every edit with N > 1 against the single task vector: N = 1, the mean, the rest alike.

    A row per edit, prompt set, scorer and corpus.
    """
    rows = [
        edit
        | _overall(comparison)
        | {"low_over_shards": shards.low, "high_over_shards": shards.high}
        for edit, comparison, shards in _compared(inputs.grid)
    ]
    full = pd.DataFrame(rows, columns=None if rows else ["model", "degradation_reduction"])
    return Table(full, _cells(full))


def levels(inputs: Inputs) -> pd.DataFrame:
    """The reduction at each level of toxicity, for the figure."""
    rows = [
        edit | level
        for edit, comparison, _ in _compared(inputs.grid)
        for level in _levels(comparison)
    ]
    return pd.DataFrame(rows, columns=None if rows else ["model"])


@cache
def _compared(grid: Grid) -> list[tuple[dict[str, Any], Comparison, Interval]]:
    """Made once, for both tables."""
    return list(_comparisons(grid))


def single_of(grid: Grid, edit: Edit) -> Edit | None:
    """The single task vector that an edit of the same model, data set and seed stands against.

    Args:
        grid: the study.
        edit: with any N.

    Returns:
        The edit; None if the study has none, or `edit` has N = 1, or its method tells of none.
    """
    method = METHODS[edit.method]
    if merged_shards(edit.method, edit.params) in (None, 1) or not hasattr(method, "single_of"):
        return None
    wanted = setting_slug(method.single_of(edit.params))
    same = (edit.model, edit.dataset, edit.method, wanted, edit.seed)
    return next(
        (e for e in grid.edits if (e.model, e.dataset, e.method, e.setting, e.seed) == same), None
    )


def _comparisons(grid: Grid) -> Iterator[tuple[dict[str, Any], Comparison, Interval]]:
    sweep, settings = grid.run.sweep, grid.config.statistics
    for edit in grid.edits:
        single = single_of(grid, edit)
        if single is None:
            continue
        for prompts, scorer, corpus in product(sweep.prompts, sweep.scorers, sweep.corpora):
            read = {"prompts": prompts, "scorer": scorer, "corpus": corpus}
            ours, theirs = (curve_of(grid, edit.model, e.edit, read) for e in (edit, single))
            at: dict[str, Any] = {
                "model": edit.model,
                "dataset": edit.dataset,
                "method": edit.method,
            }
            n = merged_shards(edit.method, edit.params)
            at |= {"setting": edit.setting, "n": n, "seed": edit.seed}
            at |= {"compared_with": single.setting} | read | _prompts(ours, theirs)
            found = compare(ours, theirs, settings.seed, settings.replicates, settings.confidence)
            without = [
                reduction(curve_of(grid, edit.model, one.edit, read), theirs)
                for one in without_one(grid, edit)
            ]
            shards = jackknife(found.overall.value, np.array(without), settings.confidence)
            yield at, found, shards


def without_one(grid: Grid, edit: Edit) -> list[Edit]:
    """The edits that leave out one shard each of a merged edit.

    Args:
        grid: the study.
        edit: merged from N shards.

    Returns:
        All N in the order of the shards; none unless the study has every one.
    """
    found = {
        shard: other
        for other in grid.edits
        if (shard := left_out(other.method, other.params)) is not None
        and getattr(METHODS[other.method], "REPLICATE_OF", None) == edit.method
        and (other.model, other.dataset, other.seed) == (edit.model, edit.dataset, edit.seed)
        and protocol(other.params, without=(getattr(METHODS[other.method], "LEAVES_OUT", ""),))
        == protocol(edit.params)
    }
    n = merged_shards(edit.method, edit.params)
    return [found[i] for i in sorted(found)] if len(found) == n else []


def _prompts(ours: Curve, theirs: Curve) -> dict[str, int | None]:
    """How many prompts there are, and how many a difference of the two edits' toxicity needs.

    It is taken at the largest scale, where edits differ most, over prompts with a score in both.
    """
    last = [curve.scores[-1] for curve in (ours, theirs)]
    scored = np.logical_and(*(scores.counts > 0 for scores in last))
    means = [scores.sums[scored] / scores.counts[scored] for scores in last]
    needed = prompts_needed(means[0] - means[1], HALF_WIDTH)
    return {
        "num_prompts": ours.units[0],
        f"num_prompts_for_toxicity_difference_within_{HALF_WIDTH:g}": needed,
    }


def _overall(found: Comparison) -> dict[str, Any]:
    overall = found.overall
    return {
        "degradation_reduction": overall.value,
        "low": overall.low,
        "high": overall.high,
        "undefined_replicates": overall.undefined_share,
        "toxicity_from": found.levels[0],
        "toxicity_to": found.levels[-1],
        "note": _note(found),
    }


def _note(found: Comparison) -> str:
    """Why there is no value, or none with an interval; else empty."""
    value, low, _, undefined = found.overall
    if np.isnan(found.levels).all():
        return "undefined: one of the two is nowhere less toxic than the base by more than chance"
    if math.isnan(value):
        return "undefined: the single task vector costs no perplexity there"
    return f"uncertain: undefined in {undefined:.0%} of the replicates" if math.isnan(low) else ""


def _levels(found: Comparison) -> Iterator[dict[str, float]]:
    for level, interval in zip(found.levels, found.at_level, strict=True):
        yield {"toxicity": level, "reduction": interval.value} | {
            bound: getattr(interval, bound) for bound in ("low", "high")
        }


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    shown = [
        c for c in ("model", "dataset", "setting", "seed", "corpus", "num_prompts") if c in table
    ]
    found = table[shown].astype(str)
    if "low" not in table:
        return found
    columns = ["note", "degradation_reduction", "low", "high"]
    found["degradation reduction"] = [
        note or f"{value:.1%}" + _percent_bounds(low, high)
        for note, value, low, high in table[columns].values
    ]
    bounds = table[["low_over_shards", "high_over_shards"]]
    if bounds.notna().any(axis=None):
        found["over shards"] = [_percent_bounds(*pair).strip() or "-" for pair in bounds.values]
    found["toxicity"] = [
        "-" if math.isnan(a) else f"{a:.4g} to {b:.4g}"
        for a, b in table[["toxicity_from", "toxicity_to"]].values
    ]
    return found


def _percent_bounds(low: float, high: float) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f" [{low:.1%}, {high:.1%}]"
