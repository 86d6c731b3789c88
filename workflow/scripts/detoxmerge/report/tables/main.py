"""The main table: one row per model, edit, seed and choice or scale."""

from collections.abc import Mapping

import pandas as pd

from ...measure.metrics import Metric, metrics_of
from ...measure.payloads import PAYLOADS
from ...plan.config import Config
from ...plan.seeds import repeats
from ..formats import Table, cell
from ..inputs import Inputs
from ..summary import COSTS, LEFT_OUT

TITLE = "2.2 All edits"
CATEGORY = "2 Tables"
VERSION = 4
NEEDS = ("summary",)
BESIDE = ()

EDIT = ["model", "dataset", "method", "setting", "seed"]
KEYS = ["model", "dataset", "method", "setting", "seed", "selector", "scale"]
COST_SCALE = "cost_measured_at_scale"
BESIDE_A_VALUE = ("low", "high", "difference", "difference_low", "difference_high")
COUNTS_SHOWN = {"num_failed"}  # beside the metrics that say `shown`


def table(inputs: Inputs) -> Table:
    """The final stage if there is one, else the sweep.

    Columns are `metric [measured on, scorer]`, and what belongs to a metric has `low`, `high`,
    `difference` (from the base model), `difference_low` or `difference_high` before the bracket.
    Prompt sets that repeat another one with a different seed are only in the CSV, since the table
    of seeds shows their spread. The base model is the first row of each model.
    """
    wide = main_table(inputs.summary)
    repeated = tuple(f"[{name}, " for name in repeats(inputs.grid.config))
    shown = wide[[name for name in wide.columns if not any(where in name for where in repeated)]]
    return Table(wide, to_cells(shown, metrics_by_name(inputs.grid.config)), counts(shown))


def main_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Spread the summary: a row per edit and choice (or scale), a column per measurement.

    Returns:
        `KEYS`, then a column per metric and set, in the order of the summary; bounds follow their
        metric. An edit for which a selector chose no scale has a row without scale and numbers.
        If the sweep left scales out, `LEFT_OUT` after the keys says why their toxicity is missing.
        What an edit costs comes last, the same in all its rows, with the scale it was measured at.
    """
    stage = "final" if (summary["stage"] == "final").any() else "sweep"
    rows = summary[summary["stage"] == stage]
    unsatisfied = summary[(summary["stage"] == "selection") & summary["value"].isna()]
    keys = pd.concat([rows, unsatisfied] if stage == "final" else [rows])[KEYS].drop_duplicates()
    # in the order of the summary, in which each edit's rows are together
    wide = summary[EDIT].drop_duplicates().merge(keys, how="inner")
    if LEFT_OUT in rows and rows[LEFT_OUT].notna().any():
        left_out = rows.loc[rows[LEFT_OUT].notna(), [*KEYS, LEFT_OUT]].drop_duplicates()
        wide = wide.merge(left_out, how="left", on=KEYS)
    sets = rows["measured_on"] + rows["scorer"].map(
        lambda scorer: f", {scorer}" if isinstance(scorer, str) else ""
    )
    columns = pd.DataFrame({"metric": rows["metric"], "set": sets}).drop_duplicates()
    for metric, where in columns.values:
        column = rows[(rows["metric"] == metric) & (sets == where)]
        names = {"value": f"{metric} [{where}]"}
        if column["low"].notna().any():
            names |= {name: f"{metric} {name} [{where}]" for name in BESIDE_A_VALUE}
        wide = wide.merge(column[[*KEYS, *names]].rename(columns=names), how="left", on=KEYS)
    return _with_costs(wide, summary[summary["stage"] == "cost"])


def _with_costs(wide: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    for metric in costs["metric"].unique():
        cost = costs[costs["metric"] == metric].rename(columns={"value": metric})
        wide = wide.merge(cost[[*EDIT, metric]], how="left", on=EDIT)
    if len(costs):
        scales = costs[[*EDIT, "scale"]].drop_duplicates().rename(columns={"scale": COST_SCALE})
        wide = wide.merge(scales, how="left", on=EDIT)
    return wide


def metrics_by_name(config: Config) -> dict[str, Metric]:
    """Every metric of a study, with the thresholds of all its scorers."""
    return {
        metric.name: metric
        for kind in PAYLOADS
        for scorer in config.scorers.values()
        for metric in metrics_of(kind, scorer.cutoffs)
    }


def to_cells(wide: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """The table as text: what is shown, each metric with its interval.

    Args:
        wide: of `main_table`.
        metrics: of `metrics_by_name`.
    """
    cells = {}
    for name in wide.columns:
        if name in KEYS:
            if name != "selector" or wide[name].notna().any():  # a sweep has no selectors
                cells[name] = [cell(value) for value in wide[name]]
            continue
        # `metric [set]` has the value; before the bracket, bounds and differences have a word more
        metric_name, _, where = name.partition(" ")
        metric = metrics.get(metric_name)
        if where.startswith("[") and (metric.shown if metric else metric_name in COUNTS_SHOWN):
            cells[name] = _with_bounds(wide, name)
            difference = name.replace(" [", " difference [")
            if metric and metric.compared and difference in wide:
                cells[difference] = _with_bounds(wide, difference)
        elif name in (LEFT_OUT, *COSTS, COST_SCALE):
            cells[name] = [cell(value) for value in wide[name]]
    return pd.DataFrame(cells)


def _with_bounds(wide: pd.DataFrame, name: str) -> list[str]:
    """The cells of a column, with the interval in brackets where there is one."""
    joint = "_" if " difference [" in name else " "
    columns = [wide.get(name.replace(" [", f"{joint}{bound} [")) for bound in ("low", "high")]
    if any(column is None for column in columns):
        return [cell(value) for value in wide[name]]
    return [
        cell(value) + ("" if pd.isna(low) or pd.isna(high) else f" [{low:.4g}, {high:.4g}]")
        for value, low, high in zip(wide[name], *columns, strict=True)
    ]


def counts(wide: pd.DataFrame) -> str:
    """How much was measured, to be read above the table: a line per prompt set and scorer."""
    lines = []
    for column in wide.columns:
        if column.startswith("num_prompts "):
            where = column.split(" ", 1)[1]
            samples = wide[f"num_samples_per_prompt {where}"]
            prompts = f"{int(wide[column].min())} prompts, {int(samples.min())} continuations each"
            lines.append(f"{where}: {prompts}.")
    return "\n".join(lines) + "\n\n"
