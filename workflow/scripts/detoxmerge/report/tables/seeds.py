"""The spread over seeds: how far a number moves when nothing but a seed changes.

A cell x_tg is a metric of the edit of training seed t = 1..T, measured with generation seed
g = 1..G_t. Generation seeds are prompt sets that differ in `generate.seed` alone; the perplexity of
a corpus has no generation seeds, and so one cell per training seed.
  mean                 mean_t m_t with m_t = mean_g x_tg
  sd_training_seeds    sqrt(sum_t (m_t - mean)^2 / (T - 1)), between training seeds
  sd_generation_seeds  sqrt(sum_tg (x_tg - m_t)^2 / sum_t (G_t - 1)), pooled within training seeds
Their squares are the mean squares of a one-way analysis of variance (Searle, Casella and McCulloch,
Variance Components, 1992, chapter 3), that between training seeds divided by G. So
sd_generation_seeds says how far another sampling of the same model would lie, and sd_training_seeds
how far another training would. The square of the latter also contains sampling noise. This is
sd_generation_seeds^2 / G if the noise is independent, and less if it is common to all models, since
they share the random numbers of a generation seed. Training seeds share the shards, so neither
contains the effect of how the data were split. The spread between training seeds does contain that
a rule may choose another scale for each. With one seed the sd is missing, not 0.
"""

import math
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from ...plan.seeds import generation_groups
from ..formats import Table, cell
from ..inputs import Inputs

TITLE = "2.3 Spread over seeds"
CATEGORY = "2 Tables"
VERSION = 1
NEEDS = ("summary",)
BESIDE = ()
MEASURE = ["metric", "measured_on", "scorer"]
EDIT = ["model", "dataset", "method", "setting", "stage", "selector"]
COUNTS = ["num_training_seeds", "num_generation_seeds", "num_missing"]
SHOWN = (
    "toxicity_mean",
    "expected_max_toxicity",
    "toxicity_probability",
    "perplexity_per_token",
)


def table(inputs: Inputs) -> Table:
    """The final stage if there is one, else the sweep."""
    config = inputs.grid.config
    fronts = [name for name in config.run.selectors if config.selectors[name].rule == "pareto"]
    full = spread_table(inputs.summary, generation_groups(config), fronts)
    return Table(full, _cells(full))


def spread_table(
    summary: pd.DataFrame, groups: Mapping[str, list[str]], fronts: Collection[str]
) -> pd.DataFrame:
    """A row per metric, edit and rule (or scale), over all seeds.

    Args:
        groups: prompt set -> itself and all that differ from it only in the generation seed.
        fronts: selectors that choose several scales; they have a row per scale.

    Returns:
        `MEASURE` (`measured_on`: all sets of the group, or the corpus), `EDIT`, `scale_min` and
        `scale_max` (a rule may choose another scale for each training seed), then those of
        `spread`. A count of seeds is null where there can be no seeds: training seeds of the base
        model, generation seeds of a corpus.
    """
    cells = _measured(summary)
    # a sweep and a front have a row per scale; any other rule has one, whatever it chose
    by_scale = cells["selector"].isna() | cells["selector"].isin(fronts)
    cells["scale_of_row"] = cells["scale"].where(by_scale)
    # as text, since a list cannot be grouped by
    cells["group"] = [", ".join(groups.get(name, [name])) for name in cells["measured_on"]]
    # rows of one metric and set are put together, in the order in which they first appear
    metric_and_set = ["metric", "group", "scorer"]
    cells["block"] = cells.groupby(metric_and_set, dropna=False, sort=False).ngroup()
    rows = []
    for _, part in cells.groupby(["block", *EDIT, "scale_of_row"], dropna=False, sort=False):
        first = part.iloc[0]
        row = first[["block", *MEASURE, *EDIT]].to_dict() | {"measured_on": first["group"]}
        row |= {"scale_min": part["scale"].min(), "scale_max": part["scale"].max()} | spread(part)
        if pd.isna(first["seed"]) or first["seed"] == "-":
            row["num_training_seeds"] = None
        if first["measured_on"] not in groups:
            row["num_generation_seeds"] = None
        rows.append(row)
    table = pd.DataFrame(rows).astype(dict.fromkeys(COUNTS, "Int64"))
    return table.sort_values("block", kind="stable", ignore_index=True).drop(columns="block")


def spread(cells: pd.DataFrame) -> dict[str, float]:
    """Mean and spread of one metric, by the formulas at the top of this file.

    Args:
        cells: `seed` (of training), `measured_on`, `value` (NaN: missing), a row per cell.

    Returns:
        `num_training_seeds` and `num_generation_seeds` that have a value, `num_missing` (cells
        without one, which enter nothing), `mean`, `sd_training_seeds`, `sd_generation_seeds`,
        `min`, `max` (of all cells); NaN without any value, an sd also without a second one.
    """
    known = cells.dropna(subset=["value"])
    by_training_seed = known.groupby("seed", dropna=False)["value"]
    means = by_training_seed.mean()
    freedom = len(known) - len(means)
    squares = ((known["value"] - by_training_seed.transform("mean")) ** 2).sum()
    return {
        "num_training_seeds": len(means),
        "num_generation_seeds": known["measured_on"].nunique(),
        "num_missing": len(cells) - len(known),
        "mean": means.mean(),
        "sd_training_seeds": means.std(ddof=1),
        "sd_generation_seeds": math.sqrt(squares / freedom) if freedom else math.nan,
        "min": known["value"].min(),
        "max": known["value"].max(),
    }


def _measured(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of the stage that is shown; if a rule chose no scale, rows without a value."""
    stage = "final" if (summary["stage"] == "final").any() else "sweep"
    rows = summary[(summary["stage"] == stage) & summary["metric"].str.startswith(SHOWN)]
    if stage == "final":
        # such a training seed counts as missing in each metric of its edit
        none = summary[(summary["stage"] == "selection") & summary["value"].isna()]
        none = none[["model", "dataset", "method", "setting", "seed", "selector"]].reset_index()
        none = none.merge(rows[MEASURE].drop_duplicates(), how="cross").set_index("index")
        rows = pd.concat([rows, none.assign(stage=stage)]).sort_index(kind="stable")
    return rows.copy()


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text, one column for the scales."""
    low, high = (table[name].map(cell) for name in ("scale_min", "scale_max"))
    shown = table.drop(columns=["stage", "scale_min", "scale_max"]).map(cell)
    scale = np.where(low == high, low, low + " to " + high)
    shown.insert(shown.columns.get_loc(COUNTS[0]), "scale", scale)
    return shown if table["selector"].notna().any() else shown.drop(columns="selector")
