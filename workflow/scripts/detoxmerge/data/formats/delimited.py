"""CSV files in UTF-8."""

import csv
import io
import sys
from collections.abc import Iterator
from typing import IO, Any

import pandas as pd

from ...errors import UserError
from ..columns import Columns, require_fields

MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}
WORDS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


def read(file: IO[bytes], asked: list[str], text: str, name: str, where: str) -> Columns:
    """Cells of some columns as they stand; an empty one is missing."""
    csv.field_size_limit(sys.maxsize)  # the module's own limit is 131,072 characters
    latest = [""]
    lines = csv.reader(_lines(file, where, latest), strict=True)
    begin = 1
    try:
        names = next(lines, None)
        if names is None:
            raise UserError(f"{where} is empty")
        _require_commas(names, asked, where)
        require_fields(asked, names, name)
        if twice := [column for column in asked if names.count(column) > 1]:
            raise UserError(f"{where} has the field '{twice[0]}' twice; rename one of them")
        places = {column: names.index(column) for column in asked}
        cells: dict[str, list[Any]] = {column: [] for column in asked}
        numbers: list[int] = []
        begin = lines.line_num + 1
        for row in lines:
            if not latest[0].isspace():  # a blank line is no row
                _require_cells(row, len(names), max(places.values()), f"{where}, line {begin},")
                numbers.append(begin)
                for column, place in places.items():
                    cells[column].append(row[place] or None)
            begin = lines.line_num + 1
    except csv.Error as error:
        if begin == 1:
            _require_commas([latest[0].strip()], asked, where)
        why = "its quote is never closed" if "end of data" in str(error) else str(error)
        raise UserError(
            f"{where} cannot be read from line {begin} on ({why}); double the quotes within a text "
            "that stands in quotes"
        ) from None
    return Columns(dict(cells), numbers, "line")


def _lines(file: IO[bytes], where: str, latest: list[str]) -> Iterator[str]:
    """The lines of a text file, which end as they did; `latest` holds the last one given."""
    for number, line in enumerate(io.TextIOWrapper(file, "utf-8-sig", newline=""), 1):
        if "\0" in line:
            raise UserError(
                f"{where} holds NUL bytes in line {number}, so it is broken or has another "
                "encoding; save it as UTF-8"
            )
        latest[0] = line
        yield line


def _require_commas(names: list[str], asked: list[str], where: str) -> None:
    if all(column in names for column in asked):
        return
    line = ",".join(names)
    for mark, word in MARKS.items():
        fields = next(csv.reader([line], delimiter=mark))
        if len(names) < len(fields) or all(column in fields for column in asked):
            raise UserError(
                f"{where}: its fields seem to be separated by {word} (the first line is "
                f"{line[:60]!r}); save it with commas between them, texts with commas in quotes, "
                "and numbers with a dot"
            )


def _require_cells(row: list[str], named: int, last: int, line: str) -> None:
    if len(row) > named:
        raise UserError(
            f"{line} has {len(row)} fields, more than the {named} that the first line names; put "
            "texts with commas in quotes, and write numbers with a dot"
        )
    if len(row) <= last:
        raise UserError(
            f"{line} has {len(row)} field(s) of the {named} that the first line names; is the file "
            "complete, and do texts with line breaks stand in quotes?"
        )


def typed(cells: list[str | None]) -> pd.Series:
    """Numbers, or truth values, if all cells are; else text."""
    column = pd.Series(cells, dtype="str")
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().equals(column.notna()):
        return numbers
    return column.map(WORDS) if column.dropna().isin(WORDS).all() else column
