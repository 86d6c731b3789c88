"""What the reader of a file gives."""

from typing import Any, NamedTuple

import pandas as pd

from ..errors import UserError, nearest


class Columns(NamedTuple):
    """What was read of a file.

    Attributes:
        cells: column -> one value per row, None where there is none.
        numbers: of the rows, from 1.
        unit: what they count, ``line`` or ``row``.
    """

    cells: dict[str, pd.Series | list[Any]]
    numbers: list[int] | range
    unit: str


def require_fields(asked: list[str], known: list[str], name: str) -> None:
    """Raise UserError unless all columns that are asked for are there."""
    for column in asked:
        if column not in known:
            raise UserError(
                f"{name} has no field '{column}'; {nearest(column, known)} (it has "
                f"{', '.join(map(str, known))})"
            )


def flat_names(row: dict[str, Any], before: str = "") -> list[str]:
    """The names of an object's fields, nested ones with dots."""
    names: list[str] = []
    for key, value in row.items():
        nested = isinstance(value, dict) and value
        names += flat_names(value, f"{before}{key}.") if nested else [f"{before}{key}"]
    return names
