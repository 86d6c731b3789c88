"""Rows of text from the hub, from local files or from the embedded generator, in one form."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import UserError, nearest
from ..models.places import hub_sentence
from ..plan.local import expand_path
from ..storage.artefacts import sha256
from .rows import open_files

if TYPE_CHECKING:
    import datasets


def read_rows(source: Mapping[str, Any], name: str, columns: list[str]) -> pd.DataFrame:
    """Read a source of the config.

    Args:
        source: an entry with `hub`, `path` or `generated`, `where`, `part`, `sample`
            (plan/entries.py).
        name: what the config calls it, for error messages.
        columns: columns that are needed; `a.b` is field b of the nested column a.

    Returns:
        One row per text with just these columns, indexed 0.. in the order of the source.

    Raises:
        UserError: the source cannot be read, lacks a column, or has too few rows.
    """
    if source["generated"]:
        frame = _generated(source["generated"])
    else:
        frame = _loaded(source, name, columns)
    for column in [*columns, *source["where"]]:
        if column not in frame:
            raise UserError(
                f"{name} has no field '{column}'; {nearest(column, frame.columns)} (it has "
                f"{', '.join(map(str, frame.columns))})"
            )
    for column, value in source["where"].items():
        frame = _kept(frame, frame[column] == value, name, f"one where '{column}' is {value!r}")
    if part := source.get("part"):
        of_text = frame[source["text"]].map(part_of)
        frame = _kept(frame, of_text == part, name, f"one of part '{part}'")
    if source["sample"]:
        frame = _sampled(frame, name, **source["sample"])
    return frame[columns].reset_index(drop=True)


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
    good = frame[column].map(lambda text: isinstance(text, str) and bool(text.strip()))
    if not good.any():
        raise UserError(f"{name} has {len(frame)} rows and none has text in '{column}'")
    return frame[good].reset_index(drop=True), int((~good).sum())


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


def _loaded(source: Mapping[str, Any], name: str, columns: list[str]) -> pd.DataFrame:
    """From the hub or from local files, through `datasets`."""
    import datasets

    datasets.disable_progress_bars()
    if source["path"]:
        with open_files(source["path"], source["text"], name) as rows:
            return _columns(rows, source, name, columns)
    return _columns(_load_hub(source, name), source, name, columns)


def _columns(
    rows: "datasets.Dataset", source: Mapping[str, Any], name: str, columns: list[str]
) -> pd.DataFrame:
    """The columns that are needed of a `datasets.Dataset`, in memory."""
    if any("." in column for column in {*columns, *source["where"]}):
        rows = rows.flatten()
    wanted = [c for c in rows.column_names if c in {*columns, *source["where"]}]
    for column in wanted:
        if type(rows.features[column]).__name__ == "Json":
            raise UserError(
                f"{name}: '{column}' holds values of different types, numbers among texts for "
                "example; give all rows one type"
            )
    # other columns are dropped before they are copied into memory, unless a field is missing: then
    # the error lists what there is
    missing = {*columns, *source["where"]} - set(wanted)
    table = rows.select_columns(rows.column_names if missing else wanted).with_format("arrow")[:]
    try:
        table.validate(full=True)
    except ValueError as error:
        where = ", ".join(source["path"] or [source["hub"]])
        raise UserError(
            f"{name}: {where} holds text that is not UTF-8 ({error}); save it as UTF-8"
        ) from None
    return table.to_pandas()


def _load_hub(source: Mapping[str, Any], name: str) -> "datasets.Dataset":
    import datasets

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
