"""JSON lines, and JSON files that are one array."""

import json
from collections.abc import Callable, Iterator
from typing import IO, Any

from ...errors import UserError
from ..columns import Columns, flat_names, require_fields


def read(file: IO[bytes], asked: list[str], text: str, name: str, where: str) -> Columns:
    """Fields of the objects of a file of JSON lines, or of one array.

    A field that only some objects have is missing in the others; `a.b` is field b of object a.
    """
    decode = _decoder(asked)
    known: dict[str, Any] = {}
    cells: dict[str, list[Any]] = {column: [] for column in asked}
    numbers: list[int] = []
    missing, unit = set(asked), "line"
    for unit, number, row in _objects(file, decode, where):
        if not isinstance(row, dict):
            raise UserError(f"{where}, {unit} {number}, is no JSON object; write one per {unit}")
        known |= row
        numbers.append(number)
        for column in asked:
            value = _field(row, column)
            if value is not Ellipsis:
                missing.discard(column)
            cells[column].append(None if value is Ellipsis else value)
    if not numbers:
        raise UserError(f"{where} is empty")
    if missing:
        there = [column for column in asked if column not in missing]
        require_fields(asked, list(dict.fromkeys([*flat_names(known), *there])), name)
    return Columns(dict(cells), numbers, unit)


def _objects(
    file: IO[bytes], decode: Callable[[str], Any], where: str
) -> Iterator[tuple[str, int, Any]]:
    """Unit, number and value of what should be a row."""
    lines = ((i, line) for i, line in enumerate(file, 1) if line.strip())
    begun = False
    for number, line in lines:
        content = line.decode("utf-8-sig" if number == 1 else "utf-8")
        try:
            if not begun and content.lstrip().startswith("["):
                array = content + b"".join(more for _, more in lines).decode("utf-8")
                yield from (("row", i, row) for i, row in enumerate(decode(array), 1))
            else:
                yield "line", number, decode(content)
        except ValueError as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise UserError(
                f"{where} cannot be read in line {number} ({error}); is it complete? It must have "
                "a JSON object in every line, or be one array of them"
            ) from None
        begun = True


def _decoder(asked: list[str]) -> Callable[[str], Any]:
    """`json.loads` that refuses an object which has an asked field twice."""
    ours = {*asked, *(part for column in asked for part in column.split("."))}

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            if twice := sorted(key for key in ours if keys.count(key) > 1):
                raise ValueError(f"the field '{twice[0]}' is there twice")
        return found

    decoder = json.JSONDecoder(object_pairs_hook=as_dict)
    return lambda line: decoder.decode(line.strip())


def _field(row: dict[str, Any], column: str) -> Any:
    """A field of an object; Ellipsis where it is not there."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, dict) or part not in value:
            return Ellipsis
        value = value[part]
    return value
