"""The main table, one row per model, edit, seed and choice or scale, and the formats of tables."""

from html import escape
from pathlib import Path

import pandas as pd

from ..plan.config import Config
from ..plan.seeds import repeats
from ..storage.artefacts import publish, write_text
from .summary import COSTS

EDIT = ["model", "dataset", "method", "setting", "seed"]
KEYS = ["model", "dataset", "method", "setting", "seed", "selector", "scale"]
COST_SCALE = "cost_measured_at_scale"
BESIDE = ("low", "high", "difference", "difference_low", "difference_high")
COMPARED = ("toxicity_mean", "perplexity")  # their difference from the base is shown
READ = (
    "toxicity_mean",
    "toxic_share_above_0.5",
    "expected_max",
    "toxicity_probability",
    "perplexity",
    "conditional_perplexity_median",  # a model that talks nonsense, in loops, or not at all
    "dist_2",
    "length_words_mean",
    "num_failed",
    *COSTS,
    COST_SCALE,
)
STYLE = """
body { font: 13px sans-serif; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 0.3em 0.6em; }
td { white-space: nowrap; }
th { border-bottom: 1px solid; }
tr:nth-child(even) { background: #eee; }
"""


def tabulate(
    config: Config, summary: Path, csv: Path, markdown: Path, latex: Path, html: Path
) -> None:
    """Write the main table: the final stage where there is one, else the sweep.

    Args:
        config: says which prompt sets only repeat another; they stand in the csv alone, and their
            spread in the table of seeds.
        summary: summary.parquet.
        csv: all metrics, full precision; columns `metric [measured on, scorer]`, and with `low`,
            `high`, `difference` (from the base model), `difference_low` and `difference_high`
            before the bracket what belongs to it.
        markdown: the metrics that are read, rounded; the base model opens each model's rows.
        latex: the same, a tabular of booktabs.
        html: the same, a page.
    """
    wide = main_table(pd.read_parquet(summary))
    again = tuple(f"[{name}, " for name in repeats(config))
    read = wide[[name for name in wide.columns if not any(where in name for where in again)]]
    cells, note = to_cells(read), counts(read)
    with publish(csv) as part:
        wide.to_csv(part, index=False)
    write_text(markdown, note + to_markdown(cells))
    write_text(latex, to_latex(cells))
    write_text(html, to_html(cells, note))
    print(f"{len(wide)} rows")


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
            names |= {column: f"{metric} {column} [{where}]" for column in BESIDE}
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


def to_cells(wide: pd.DataFrame) -> pd.DataFrame:
    """The table as text: the metrics that are read, each with its interval.

    Args:
        wide: of `main_table`.

    Returns:
        Strings; a key that has one value in all rows is left out, but for the model.
    """
    found = {}
    for name in wide.columns:
        if name in KEYS:
            if name != "selector" or wide[name].notna().any():
                found[name] = [cell(value) for value in wide[name]]
        elif name.startswith(READ) and not any(f" {beside} [" in name for beside in BESIDE):
            found[name] = _with_bounds(wide, name, "low", "high")
            change = name.replace(" [", " difference [")
            if name.startswith(COMPARED) and change in wide:
                found[change] = _with_bounds(wide, change, "low", "high")
    return pd.DataFrame(found)


def _with_bounds(wide: pd.DataFrame, name: str, *bounds: str) -> list[str]:
    if " [" not in name:  # a cost
        return [cell(value) for value in wide[name]]
    joint = "_" if " difference [" in name else " "
    columns = [wide.get(name.replace(" [", f"{joint}{bound} [")) for bound in bounds]
    if any(column is None for column in columns):
        return [cell(value) for value in wide[name]]
    return [
        cell(value) + ("" if pd.isna(low) or pd.isna(high) else f" [{low:.4g}, {high:.4g}]")
        for value, low, high in zip(wide[name], *columns, strict=True)
    ]


def to_markdown(cells: pd.DataFrame) -> str:
    """A table of text as Markdown.

    Args:
        cells: strings.

    Returns:
        A line per row.
    """
    lines = [list(cells.columns), ["---"] * len(cells.columns), *cells.to_numpy().tolist()]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def to_latex(cells: pd.DataFrame) -> str:
    """A table of text as a tabular of booktabs.

    Args:
        cells: strings.

    Returns:
        LaTeX; what TeX would read as a command is escaped.
    """
    escaped = cells.rename(columns=_escape).map(_escape)
    return escaped.to_latex(index=False, column_format="l" * len(cells.columns))


def to_html(cells: pd.DataFrame, note: str = "") -> str:
    """A table of text as a page, as the report shows it.

    Args:
        cells: strings.
        note: stands above the table.

    Returns:
        HTML that loads nothing; what a browser would read as a tag is escaped.
    """
    with pd.option_context("display.max_colwidth", None):  # pandas would cut long notes
        table = cells.to_html(index=False, border=0)
    # columns stay narrow: names may break, and what stands in brackets has a line of its own
    table = table.replace("_", "_<wbr/>").replace(" [", "<br/>[")
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<style>{STYLE}</style>\n'
    return f"{head}<p>{escape(note)}</p>\n{table}\n"


def _escape(text: str) -> str:
    for special in "\\&%$#_{}":
        text = text.replace(special, "\\" + special if special != "\\" else r"\textbackslash ")
    return text


def cell(value: object) -> str:
    """A value as it stands in a table that people read.

    Args:
        value: text, or a number; missing is a dash.

    Returns:
        Four digits of a float, anything else as it is.
    """
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
