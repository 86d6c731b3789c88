"""Rows of local .parquet, .jsonl, .json and .csv files, also compressed ones."""

import bisect
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd

from ..errors import UserError
from ..plan.local import expand_path
from .columns import Columns
from .formats import delimited, json_lines, parquet

FORMATS = {".parquet": parquet, ".jsonl": json_lines, ".json": json_lines, ".csv": delimited}
UNREADABLE_SHARE = 0.01  # of the rows; if more of them cannot be read, the source is refused
HALF_CHARACTER = re.compile("[\ud800-\udfff]")


class Rows(NamedTuple):
    """Rows of a source.

    Attributes:
        frame: a column for each that was asked for; the index is that of `place`.
        place: says where a row stands, for error messages.
        num_unreadable: rows that were left out.
    """

    frame: pd.DataFrame
    place: Callable[[int], str]
    num_unreadable: int


def read_files(
    paths: list[str], columns: list[str], text: str, name: str, exact: Collection[str] = ()
) -> Rows:
    """The rows of some files, one after another.

    Args:
        paths: of one format; $VARIABLES are expanded.
        columns: which are read; files may hold others, of whatever types.
        text: the one with the text.
        name: what the config calls them, for error messages.
        exact: columns whose cells stay as they are written, for comparisons.

    Raises:
        UserError: a file is missing, has another format, or cannot be read.
    """
    files = [Path(expand_path(path)) for path in paths]
    kind = _format(files, name)
    typed = getattr(kind, "typed", pd.Series)  # of cells that are words, over all files
    read = kind.read
    asked = list(dict.fromkeys(columns))
    parts = [_read(read, file, asked, text, name) for file in files]
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + len(part.numbers))

    def place(row: int) -> str:
        which = bisect.bisect_right(ends, row) - 1
        part = parts[which]
        return f"{files[which]}, {part.unit} {part.numbers[row - ends[which]]},"

    found = zip(ends[:-1], map(_half_characters, parts), strict=True)
    broken = [start + i for start, rows in found for i in rows]
    leave_out(
        name,
        broken,
        ends[-1],
        lambda row: f"{place(row)} holds half of a character, which is no text (a lone surrogate)",
        "write these rows anew",
    )
    frame = pd.DataFrame(
        {
            column: _joined(
                [part.cells[column] for part in parts],
                broken,
                (lambda cells: pd.Series(cells, dtype="object")) if column in exact
                else pd.Series if column == text else typed,
            )
            for column in asked
        }
    )  # fmt: skip
    return Rows(frame.drop(index=broken), place, len(broken))


def leave_out(
    name: str,
    rows: Sequence[int],
    total: int,
    fault: Callable[[int], str],
    cure: str,
    before: int = 0,
) -> None:
    """Say which rows are left out, or raise UserError if they are more than `UNREADABLE_SHARE`.

    Args:
        name: of the source.
        rows: that cannot be read.
        total: number of rows.
        fault: row -> where it stands and what is wrong.
        cure: how to mend them.
        before: rows that were left out already, for another fault.
    """
    if not len(rows):
        return
    more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
    shown = "; ".join(map(fault, rows[:3])) + more
    said = f"{name}: {len(rows)} of {total} rows cannot be read: {shown}"
    if len(rows) + before > UNREADABLE_SHARE * (total + before):
        raise UserError(f"{said}; {cure} (at most {UNREADABLE_SHARE:.0%} of the rows may be so)")
    print(f"{said}; they are left out")


def _read(read: Any, file: Path, asked: list[str], text: str, name: str) -> Columns:
    """The columns of one file."""
    where = f"{name}: {file}"
    try:
        with _opened(file) as bytes_of:
            return read(bytes_of, asked, text, name, where)
    except UserError:
        raise
    except UnicodeDecodeError:
        with _opened(file) as lines:
            first = next(i for i, line in enumerate(lines, 1) if not _is_utf8(line))
        raise UserError(
            f"{where} holds text that is not UTF-8, first in line {first}; save it as UTF-8"
        ) from None
    except PermissionError as error:
        raise UserError(f"{where}: {error.strerror}; mend its permissions") from error
    except Exception as error:  # each format's reader raises its own types
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{where} cannot be read ({why}); is it complete?") from error


def _opened(file: Path) -> Any:
    """The bytes of a file; its name says how they are compressed."""
    import fsspec

    return fsspec.filesystem("file").open(str(file), "rb", compression="infer")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _half_characters(part: Columns) -> list[int]:
    """Rows with half of a character, as JSON's `\\ud83d` without the other half, in any column."""
    lists = [values for values in part.cells.values() if isinstance(values, list)]
    return sorted(
        {
            row
            for values in lists  # others hold what was decoded from UTF-8
            for row, value in enumerate(values)
            if isinstance(value, str) and not value.isascii() and HALF_CHARACTER.search(value)
        }
    )


def _joined(
    parts: list[pd.Series | list[Any]],
    broken: list[int],
    typed: Callable[[list[Any]], pd.Series],
) -> pd.Series:
    """One column of all files; its type is found over all of them."""
    lists = [part for part in parts if isinstance(part, list)]
    if len(lists) == len(parts):
        values = [value for part in lists for value in part]
        for row in broken:  # they are left out, and half a character fits into no column
            values[row] = None if isinstance(values[row], str) else values[row]
        return typed(values)
    columns = [pd.Series(part) for part in parts]
    if len({column.dtype for column in columns}) > 1:
        columns = [_in_double_precision(column) for column in columns]
    return pd.concat(columns, ignore_index=True)


def _in_double_precision(column: pd.Series) -> pd.Series:
    """Shorter floats by their decimals: a float32 0.8 becomes 0.8, and not what it stands for."""
    if column.dtype.kind != "f" or column.dtype.itemsize == 8:
        return column
    return pd.Series([float(str(value)) for value in column.to_numpy()])


def _format(files: list[Path], name: str) -> ModuleType:
    """The module that reads them."""
    found = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"{name}: no file '{file}'; mend its path in the config")
        suffix = next((s for s in reversed(file.suffixes) if s in FORMATS), None)
        if suffix is None:
            raise UserError(f"{name}: '{file}' has none of the formats {', '.join(FORMATS)}")
        found[FORMATS[suffix]] = suffix.removeprefix(".").removesuffix("l")
    if len(found) > 1:
        formats = ", ".join(sorted(found.values()))
        raise UserError(f"{name}: its files have different formats: {formats}")
    return next(iter(found))
