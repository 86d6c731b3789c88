"""The main table: one row per model, edit, seed and choice or scale."""

from collections.abc import Mapping

import pandas as pd

from ...measure.metrics import Metric, metrics_of
from ...measure.payloads import MEASURED
from ...plan.config import Config
from ...plan.seeds import repeats
from ..formats import Table, cell
from ..inputs import Inputs
from ..summary import COSTS

TITLE = "2.2 All edits"
CATEGORY = "2 Tables"
NEEDS = ("summary",)
BESIDE = ()

EDIT = ["model", "dataset", "method", "setting", "seed"]
KEYS = ["model", "dataset", "method", "setting", "seed", "selector", "scale"]
COST_SCALE = "cost_measured_at_scale"
BESIDE_A_VALUE = ("low", "high", "difference", "difference_low", "difference_high")
COUNTS_SHOWN = {"num_failed"}  # beside the metrics that say `shown`


def table(inputs: Inputs) -> Table:
    """The final stage where there is one, else the sweep.

    Columns are `metric [measured on, scorer]`, and what belongs to a metric has `low`, `high`,
    `difference` (from the base model), `difference_low` or `difference_high` before the bracket.
    Prompt sets that only repeat another with another seed stand in the csv alone, and their spread
    in the table of seeds. In Markdown the base model opens each model's rows.
    """
    wide = main_table(inputs.summary)
    again = tuple(f"[{name}, " for name in repeats(inputs.grid.config))
    read = wide[[name for name in wide.columns if not any(where in name for where in again)]]
    return Table(wide, to_cells(read, metrics_by_name(inputs.grid.config)), counts(read))


def main_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Spread the summary: a row per edit and choice (or scale), a column per measurement.

    Args:
        summary: rows with `metric`, `value`, `low`, `high`.

    Returns:
        `KEYS`, then a column per metric and set, in the order of the summary; bounds follow their
        metric. An edit for which a selector found nothing has a row without scale and numbers.
        What an edit costs comes last, the same in all its rows, and the scale that this holds for.
    """
    stage = "final" if (summary["stage"] == "final").any() else "sweep"
    rows = summary[summary["stage"] == stage]
    none = summary[(summary["stage"] == "selection") & summary["value"].isna()]
    kept = [rows, none] if stage == "final" else [rows]
    keys = pd.concat(kept)[KEYS].drop_duplicates()
    order = summary[EDIT].drop_duplicates()
    keys = order.merge(keys, how="inner")
    sets = rows["measured_on"] + rows["scorer"].map(
        lambda s: f", {s}" if isinstance(s, str) else ""
    )
    wide = keys
    for metric, where in pd.DataFrame({"m": rows["metric"], "s": sets}).drop_duplicates().values:
        one = rows[(rows["metric"] == metric) & (sets == where)]
        names = {"value": f"{metric} [{where}]"}
        if one["low"].notna().any():
            names |= {column: f"{metric} {column} [{where}]" for column in BESIDE_A_VALUE}
        wide = wide.merge(one[[*KEYS, *names]].rename(columns=names), how="left", on=KEYS)
    return _with_costs(wide, summary[summary["stage"] == "cost"])


def _with_costs(wide: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    for metric in costs["metric"].unique():
        one = costs[costs["metric"] == metric].rename(columns={"value": metric})
        wide = wide.merge(one[[*EDIT, metric]], how="left", on=EDIT)
    if len(costs):
        scales = costs[[*EDIT, "scale"]].drop_duplicates().rename(columns={"scale": COST_SCALE})
        wide = wide.merge(scales, how="left", on=EDIT)
    return wide


def metrics_by_name(config: Config) -> dict[str, Metric]:
    """Every metric of a study: those of thresholds for the thresholds of all scorers."""
    thresholds = [
        s.model_dump(include={"thresholds", "any_above"}) for s in config.scorers.values()
    ]
    return {
        metric.name: metric
        for of in MEASURED
        for settings in thresholds
        for metric in metrics_of(of, settings)
    }


def to_cells(wide: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """The table as text: the metrics that are shown, each with its interval.

    Args:
        wide: of `main_table`.
        metrics: of `metrics_by_name`.

    Returns:
        Strings; a key that has one value in all rows is left out, but for the model.
    """
    found = {}
    for name in wide.columns:
        if name in KEYS:
            if name != "selector" or wide[name].notna().any():
                found[name] = [cell(value) for value in wide[name]]
            continue
        metric, _, where = name.partition(" ")
        known = metrics.get(metric)
        if where.startswith("[") and (known.shown if known else metric in COUNTS_SHOWN):
            found[name] = _with_bounds(wide, name, "low", "high")
            change = name.replace(" [", " difference [")
            if known and known.compared and change in wide:
                found[change] = _with_bounds(wide, change, "low", "high")
        elif name in (*COSTS, COST_SCALE):
            found[name] = [cell(value) for value in wide[name]]
    return pd.DataFrame(found)


def _with_bounds(wide: pd.DataFrame, name: str, *bounds: str) -> list[str]:
    joint = "_" if " difference [" in name else " "
    columns = [wide.get(name.replace(" [", f"{joint}{bound} [")) for bound in bounds]
    if any(column is None for column in columns):
        return [cell(value) for value in wide[name]]
    return [
        cell(value) + ("" if pd.isna(low) or pd.isna(high) else f" [{low:.4g}, {high:.4g}]")
        for value, low, high in zip(wide[name], *columns, strict=True)
    ]


def counts(wide: pd.DataFrame) -> str:
    """How much was measured, for the head of the table.

    Args:
        wide: of `main_table`.

    Returns:
        A line per prompt set and scorer.
    """
    lines = []
    for column in wide.columns:
        if column.startswith("num_prompts "):
            where = column.split(" ", 1)[1]
            samples = wide[f"num_samples_per_prompt {where}"]
            prompts = f"{int(wide[column].min())} prompts, {int(samples.min())} continuations each"
            lines.append(f"{where}: {prompts}.")
    return "\n".join(lines) + "\n\n"
