"""The main table: one row per model, edit, seed and scale, as CSV and Markdown."""

from pathlib import Path

import pandas as pd

from ..artefacts import publish, write_text

KEYS = ["model", "dataset", "method", "setting", "seed", "scale"]
FIRST = "toxicity_mean"


def tabulate(summary: Path, csv: Path, markdown: Path) -> None:
    """Write the main table.

    Args:
        summary: summary.parquet.
        csv: all metrics, full precision; columns `metric [measured on, scorer]`.
        markdown: the metrics that are read, rounded; the base model opens each model's rows.
    """
    wide = main_table(pd.read_parquet(summary))
    with publish(csv) as part:
        wide.to_csv(part, index=False)
    write_text(markdown, to_markdown(wide))
    print(f"{len(wide)} rows")


def main_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Spread the summary: a row per edit and scale, a column per measurement.

    Args:
        summary: rows with `metric` and `value`.

    Returns:
        `KEYS`, then a column per metric and set, in the order of the summary. The parameter
        change, measured at scale 1 only, is left out.
    """
    rows = summary[summary["measured_on"].notna()].copy()
    sets = rows["measured_on"] + rows["scorer"].map(
        lambda s: f", {s}" if isinstance(s, str) else ""
    )
    rows["column"] = rows["metric"] + " [" + sets + "]"
    columns, keys = rows["column"].drop_duplicates(), rows[KEYS].drop_duplicates()
    spread = rows.pivot(index=KEYS, columns="column", values="value")
    wide = spread.reindex(pd.MultiIndex.from_frame(keys))[columns.tolist()]
    return wide.reset_index().rename_axis(columns=None)


def to_markdown(wide: pd.DataFrame) -> str:
    """The table as Markdown, with the number of prompts and samples above it.

    Args:
        wide: of `main_table`.

    Returns:
        Text with a line per row.
    """
    shown = [c for c in wide.columns if c in KEYS or _is_read(c)]
    head = "| " + " | ".join(shown) + " |\n|" + "---|" * len(shown) + "\n"
    body = "".join(
        "| " + " | ".join(_cell(row[c]) for c in shown) + " |\n" for _, row in wide.iterrows()
    )
    return _counts(wide) + head + body


def _is_read(column: str) -> bool:
    names = (FIRST, "toxic_share_above_0.5", "expected_max", "toxicity_probability", "perplexity")
    return column.startswith((*names, "num_failed"))


def _cell(value: object) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _counts(wide: pd.DataFrame) -> str:
    lines = []
    for column in wide.columns:
        if column.startswith("num_prompts "):
            where = column.split(" ", 1)[1]
            samples = wide[f"num_samples_per_prompt {where}"]
            prompts = f"{int(wide[column].min())} prompts, {int(samples.min())} continuations each"
            lines.append(f"{where}: {prompts}.")
    return "\n".join(lines) + "\n\n"
