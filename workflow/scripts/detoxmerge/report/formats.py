"""A table as CSV, and as people read it: Markdown, LaTeX and an HTML page."""

from html import escape
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..plan.registry import TABLES
from ..storage.artefacts import publish, write_text
from .inputs import Inputs


class Table(NamedTuple):
    """What a file of tables/ makes."""

    full: pd.DataFrame  # for the CSV: all columns, full precision
    cells: pd.DataFrame  # strings, as people read them
    note: str = ""  # above the cells, in Markdown and on the page


def write_table(
    name: str, inputs: Inputs, csv: Path, markdown: Path, latex: Path, html: Path, **beside: Path
) -> None:
    """Make a table and write it in its four formats.

    Args:
        name: a file of tables/.
        csv: all columns, full precision; the other formats have the cells that people read.
        latex: a tabular of booktabs.
        beside: further tables that it makes (`BESIDE`), CSV.
    """
    table = TABLES[name].table(inputs)
    frames = {csv: table.full}
    frames |= {path: getattr(TABLES[name], key)(inputs) for key, path in beside.items()}
    for path, frame in frames.items():
        with publish(path) as part:
            frame.to_csv(part, index=False)
    write_text(markdown, table.note + to_markdown(table.cells))
    write_text(latex, to_latex(table.cells))
    write_text(html, to_html(table.cells, table.note))
    print(f"{len(table.full)} rows")


STYLE = """
body { font: 13px sans-serif; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 0.3em 0.6em; }
td { white-space: nowrap; }
th { border-bottom: 1px solid; }
tr:nth-child(even) { background: #eee; }
"""


def to_markdown(cells: pd.DataFrame) -> str:
    """A table of strings as Markdown."""
    lines = [list(cells.columns), ["---"] * len(cells.columns), *cells.to_numpy().tolist()]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def to_latex(cells: pd.DataFrame) -> str:
    """A table of strings as a tabular of booktabs; what TeX would read as a command is escaped."""
    escaped = cells.rename(columns=_escape).map(_escape)
    return escaped.to_latex(index=False, column_format="l" * len(cells.columns))


def to_html(cells: pd.DataFrame, note: str = "") -> str:
    """A table of strings as the page that the report shows, with a note above it.

    The page loads nothing, and what a browser would read as a tag is escaped.
    """
    with pd.option_context("display.max_colwidth", None):  # pandas would cut long cells
        table = cells.to_html(index=False, border=0)
    # so that columns stay narrow, names may break, and brackets start a line
    table = table.replace("_", "_<wbr/>").replace(" [", "<br/>[")
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<style>{STYLE}</style>\n'
    return f"{head}<p>{escape(note)}</p>\n{table}\n"


def _escape(text: str) -> str:
    for special in "\\&%$#_{}":
        text = text.replace(special, "\\" + special if special != "\\" else r"\textbackslash ")
    return text


def cell(value: object) -> str:
    """A value as people read it: a float with four digits, a dash if it is missing."""
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
