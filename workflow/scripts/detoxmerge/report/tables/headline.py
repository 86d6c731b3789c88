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
VERSION = 3
NEEDS = ("summary", "measured")
BESIDE = ("levels",)
HALF_WIDTH = 0.005  # of an interval of mean toxicity, whose number of prompts is given


def table(inputs: Inputs) -> Table:
    """Every edit with N > 1 against the single task vector of its setting (`single_of`).

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
    """Computed once for both tables."""
    return list(_comparisons(grid))


def single_of(grid: Grid, edit: Edit) -> Edit | None:
    """The single task vector, of the same model, data set and seed, that an edit is compared with.

    None if the study does not have it, if the edit itself has N = 1, or if its method states none.
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
    """Columns that name an edit and its sets, its comparison, and the interval over shards."""
    sweep, settings = grid.run.sweep, grid.config.statistics
    for edit in grid.edits:
        single = single_of(grid, edit)
        if single is None:
            continue
        for prompts, scorer, corpus in product(sweep.prompts, sweep.scorers, sweep.corpora):
            read = {"prompts": prompts, "scorer": scorer, "corpus": corpus}
            ours, theirs = (curve_of(grid, edit.model, e.edit, read) for e in (edit, single))
            columns: dict[str, Any]
            columns = {"model": edit.model, "dataset": edit.dataset, "method": edit.method}
            n = merged_shards(edit.method, edit.params)
            columns |= {"setting": edit.setting, "n": n, "seed": edit.seed}
            columns |= {"compared_with": single.setting} | read | _prompts(ours, theirs)
            comparison = compare(
                ours, theirs, settings.seed, settings.replicates, settings.confidence
            )
            # the bootstrap knows nothing of shards; edits that lack one show how they scatter
            without = [
                reduction(curve_of(grid, edit.model, replicate.edit, read), theirs)
                for replicate in without_one(grid, edit)
            ]
            shards = jackknife(comparison.overall.value, np.array(without), settings.confidence)
            yield columns, comparison, shards


def without_one(grid: Grid, edit: Edit) -> list[Edit]:
    """The N edits that each leave out one shard of a merged edit; none unless all are there."""
    without = {
        shard: other
        for other in grid.edits
        if (shard := left_out(other.method, other.params)) is not None
        and getattr(METHODS[other.method], "REPLICATE_OF", None) == edit.method
        and (other.model, other.dataset, other.seed) == (edit.model, edit.dataset, edit.seed)
        and protocol(other.params, without=(getattr(METHODS[other.method], "LEAVES_OUT", ""),))
        == protocol(edit.params)
    }
    n = merged_shards(edit.method, edit.params)
    return [without[i] for i in sorted(without)] if len(without) == n else []


def _prompts(ours: Curve, theirs: Curve) -> dict[str, int | None]:
    """How many prompts there are, and how many the difference of the edits' toxicity would need.

    The difference is that at the largest scale of both, where edits differ most, over prompts that
    have a score in both.
    """
    largest = np.intersect1d(ours.scales, theirs.scales)[-1]
    last = [c.scores[int(np.searchsorted(c.scales, largest))] for c in (ours, theirs)]
    scored = np.logical_and(*(scores.counts > 0 for scores in last))
    means = [scores.sums[scored] / scores.counts[scored] for scores in last]
    # at 0, where both are the base, they do not differ
    needed = prompts_needed(means[0] - means[1], HALF_WIDTH) if largest > 0 else None
    return {
        "num_prompts": ours.units[0],
        f"num_prompts_for_toxicity_difference_within_{HALF_WIDTH:g}": needed,
    }


def _overall(comparison: Comparison) -> dict[str, Any]:
    overall = comparison.overall
    return {
        "degradation_reduction": overall.value,
        "low": overall.low,
        "high": overall.high,
        "undefined_replicates": overall.undefined_share,
        "toxicity_from": comparison.levels[0],
        "toxicity_to": comparison.levels[-1],
        "note": _note(comparison),
    }


def _note(comparison: Comparison) -> str:
    """Why there is no value, or no interval; else empty."""
    value, low, _, undefined = comparison.overall
    if np.isnan(comparison.levels).all():
        return "undefined: one of the two is nowhere less toxic than the base by more than chance"
    if math.isnan(value):
        return "undefined: the single task vector costs no perplexity there"
    return f"uncertain: undefined in {undefined:.0%} of the replicates" if math.isnan(low) else ""


def _levels(comparison: Comparison) -> Iterator[dict[str, float]]:
    for level, interval in zip(comparison.levels, comparison.at_level, strict=True):
        yield {"toxicity": level, "reduction": interval.value} | {
            bound: getattr(interval, bound) for bound in ("low", "high")
        }


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    names = ("model", "dataset", "setting", "seed", "corpus", "num_prompts")
    cells = table[[name for name in names if name in table]].astype(str)
    if "low" not in table:  # a study without any pair
        return cells
    columns = ["note", "degradation_reduction", "low", "high"]
    cells["degradation reduction"] = [
        note or f"{value:.1%}" + _percent_bounds(low, high)
        for note, value, low, high in table[columns].values
    ]
    bounds = table[["low_over_shards", "high_over_shards"]]
    if bounds.notna().any(axis=None):
        cells["over shards"] = [_percent_bounds(*pair).strip() or "-" for pair in bounds.values]
    cells["toxicity"] = [
        "-" if math.isnan(start) else f"{start:.4g} to {end:.4g}"
        for start, end in table[["toxicity_from", "toxicity_to"]].values
    ]
    return cells


def _percent_bounds(low: float, high: float) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f" [{low:.1%}, {high:.1%}]"
