"""Rows of text from the hub, from local files or from the embedded generator, in one form."""

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import UserError
from ..models.places import hub_sentence
from ..plan.local import expand_path
from ..storage.artefacts import sha256
from .columns import require_fields
from .formats.delimited import WORDS
from .rows import Rows, leave_out, read_files

if TYPE_CHECKING:
    import datasets

DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")


def read_rows(
    source: Mapping[str, Any], name: str, columns: list[str], score: str | None = None
) -> tuple[pd.DataFrame, int]:
    """Read a source of the config.

    Rows that hold half a character, or whose score is no number, cannot be read: they are left out
    and printed, or refused if they are more than `rows.UNREADABLE_SHARE`.

    Args:
        source: an entry with `hub`, `path` or `generated`, `where`, `part`, `sample`
            (plan/entries.py).
        name: what the config calls it, for error messages.
        columns: columns that are needed; `a.b` is field b of the nested column a.
        score: one of them that holds numbers, also as text; NaN where a row has none.

    Returns:
        One row per text with just these columns, indexed 0.. in the order of the source; and how
        many of the chosen rows cannot be read.

    Raises:
        UserError: the source cannot be read, lacks a column, or has too few rows.
    """
    asked = list(dict.fromkeys([*columns, *source["where"]]))
    frame, place, unreadable = _rows(source, name, asked, exact=source["where"])
    require_fields(asked, list(frame.columns), name)
    _require_one_type(frame, source["text"], place, name)
    for column, value in source["where"].items():
        frame = _kept(
            frame, _equal(frame[column], value), name, f"one where '{column}' is {value!r}"
        )
    if part := source.get("part"):
        of_text = frame[source["text"]].map(part_of)
        frame = _kept(frame, of_text == part, name, f"one of part '{part}'")
    if source["sample"]:
        frame = _sampled(frame, name, **source["sample"])
    if score:
        frame, without_number = _with_numbers(
            frame, source["text"], score, place, name, before=unreadable
        )
        unreadable += without_number
    return frame[columns].reset_index(drop=True), unreadable


def unreadable_count(rows: int) -> dict[str, int]:
    """For the counts of a manifest, which keeps its bytes where every row can be read."""
    return {"num_unreadable": rows} if rows else {}


def part_of(text: object) -> str:
    """The part that a text belongs to: equal texts are in the same part, whatever the seeds.

    Returns:
        ``validation`` if the first byte of its SHA-256 is below 51 (a fifth), else ``test``.
    """
    return "validation" if hashlib.sha256(str(text).encode()).digest()[0] < 51 else "test"


def origin(source: Mapping[str, Any]) -> dict[str, Any]:
    """Where rows came from, for a manifest.

    Returns:
        Hub id and revision, or SHA-256 per local file, or the generator's arguments.
    """
    if source["hub"]:
        return {"hub": source["hub"], "revision": source["revision"]}
    if source["path"]:
        return {"sha256": {path: sha256(expand_path(path)) for path in source["path"]}}
    return {"generated": source["generated"]}


def require_text(frame: pd.DataFrame, column: str, name: str) -> tuple[pd.DataFrame, int]:
    """Leave out rows whose column has no text.

    Args:
        name: the source's name, for the error message.

    Returns:
        The rows whose value is a string that is not blank, and how many were left out.

    Raises:
        UserError: no row is left.
    """
    good = frame[column].map(_is_text)
    if not good.any():
        raise UserError(f"{name} has {len(frame)} rows and none has text in '{column}'")
    return frame[good].reset_index(drop=True), int((~good).sum())


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _kept(frame: pd.DataFrame, keep: pd.Series, name: str, condition: str) -> pd.DataFrame:
    if len(frame) and not keep.any():
        raise UserError(f"{name}: none of {len(frame)} rows is {condition}; mend it in the config")
    return frame[keep]


def _generated(entry: Mapping[str, Any]) -> pd.DataFrame:
    from .generated import KINDS

    return pd.DataFrame(KINDS[entry["kind"]](entry["rows"], entry["seed"]))


def _sampled(frame: pd.DataFrame, name: str, rows: int, seed: int) -> pd.DataFrame:
    if rows > len(frame):
        raise UserError(f"{name} has {len(frame)} rows, fewer than sample.rows {rows}; lower it")
    chosen = np.random.default_rng(seed).choice(len(frame), rows, replace=False)
    return frame.iloc[np.sort(chosen)]


def _rows(source: Mapping[str, Any], name: str, columns: list[str], exact: Collection[str]) -> Rows:
    """All rows of a source, and where they stand; cells of `exact` as they are written."""
    if source["path"]:
        return read_files(source["path"], columns, source["text"], name, exact)
    if source["generated"]:
        frame = _generated(source["generated"])
    else:
        frame = _columns(_load_hub(source, name), source, name, columns)
    return Rows(frame, lambda row: f"row {row + 1}", 0)


def _equal(column: pd.Series, value: str | int | bool) -> pd.Series:
    """Which rows have a value of `where`, cell by cell and without rounding.

    A number is also one among words, so is a truth value; a text is the cell as the file has it.
    """
    return column.map(lambda cell: _is(cell, value)).astype(bool)


def _is(cell: Any, value: str | int | bool) -> bool:
    cell = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(value, str):
        return isinstance(cell, str) and cell == value
    if isinstance(value, bool):
        return (
            WORDS.get(cell) is value
            if isinstance(cell, str)
            else cell is not None and cell == value
        )
    if isinstance(cell, str):
        return _number(cell) == value
    return not isinstance(cell, bool) and cell is not None and cell == value


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return None


def _require_one_type(
    frame: pd.DataFrame, text: str, place: Callable[[int], str], name: str
) -> None:
    """Raise UserError if some texts are none, but for missing ones."""
    texts = frame.get(text)
    if texts is None or texts.dtype != "object":
        return
    is_text = texts.map(lambda value: isinstance(value, str))
    others = texts[~is_text & texts.notna()]
    if is_text.any() and len(others):
        raise UserError(
            f"{name}: '{text}' holds values of different types: {place(others.index[0])} has "
            f"{str(others.iloc[0])[:40]}, which is no text, and others have text; give all rows "
            "one type"
        )


def _with_numbers(
    frame: pd.DataFrame,
    text: str,
    score: str,
    place: Callable[[int], str],
    name: str,
    before: int,
) -> tuple[pd.DataFrame, int]:
    """The rows with their score as a number, without those whose score is something else."""
    given = frame[score]
    # in its own precision: a float32 0.8 is not above 0.8, and its fp64 image is
    numbers = pd.to_numeric(given, errors="coerce")
    blank = given.map(lambda x: isinstance(x, str) and x.strip().lower() in ("", "nan"))
    has_text = frame[text].map(_is_text)  # others are left out in any case
    wrong = list(frame.index[numbers.isna() & given.notna() & ~blank & has_text])

    def fault(row: int) -> str:
        value = str(given[row])
        why = "a decimal comma" if DECIMAL_COMMA.fullmatch(value.strip()) else "no number"
        why = "a percent sign" if value.strip().endswith("%") else why
        return f"{place(row)} has {value[:40]!r} as '{score}', {why}"

    cure = "write scores as 0.9, and leave the field empty where there is none"
    leave_out(name, wrong, len(frame), fault, cure, before)
    return frame.assign(**{score: numbers}).drop(index=wrong), len(wrong)


def _columns(
    rows: "datasets.Dataset", source: Mapping[str, Any], name: str, columns: list[str]
) -> pd.DataFrame:
    """The columns that are needed of a data set of the hub, in memory."""
    if any("." in column for column in columns):
        rows = rows.flatten()
    wanted = [c for c in rows.column_names if c in columns]
    for column in wanted:
        if type(rows.features[column]).__name__ == "Json":
            raise UserError(
                f"{name}: '{column}' holds values of different types, numbers among texts for "
                "example; give all rows one type"
            )
    # others are dropped before they are copied into memory, unless a field is missing: then the
    # error lists what there is
    missing = set(columns) - set(wanted)
    table = rows.select_columns(rows.column_names if missing else wanted).with_format("arrow")[:]
    try:
        table.validate(full=True)
    except ValueError as error:
        raise UserError(
            f"{name}: {source['hub']} holds text that is not UTF-8 ({error}); save it as UTF-8"
        ) from None
    return table.to_pandas(integer_object_nulls=True)


def _load_hub(source: Mapping[str, Any], name: str) -> "datasets.Dataset":
    import datasets

    datasets.disable_progress_bars()
    try:
        parts = [
            datasets.load_dataset(
                source["hub"], source["subset"], split=split, revision=source["revision"]
            )
            for split in source["splits"]
        ]
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise UserError(hub_sentence("data set", source, name, error)) from error
    return datasets.concatenate_datasets(parts)
