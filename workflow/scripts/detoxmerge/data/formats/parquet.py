"""Parquet files."""

from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...errors import UserError
from ..columns import Columns, flat_names, require_fields


def read(file: IO[bytes], asked: list[str], text: str, name: str, where: str) -> Columns:
    """Columns in their own types; `a.b` is field b of the struct a."""
    parquet = pq.ParquetFile(file)
    schema = parquet.schema_arrow
    there = [column for column in asked if _path_of(schema, column)]
    if len(there) < len(asked):
        require_fields(asked, list(dict.fromkeys([*flat_names(_as_dict(schema)), *there])), name)
    if twice := [column for column in asked if schema.names.count(column) > 1]:
        raise UserError(f"{where} has the field '{twice[0]}' twice; rename one of them")
    table = parquet.read(columns=asked)
    values = {}
    for column in asked:
        top, *inner = _path_of(schema, column)
        cells = pc.struct_field(table[top], inner) if inner else table[top]
        if pa.types.is_dictionary(cells.type):
            cells = cells.cast(cells.type.value_type)
        _require_utf8(cells, where)
        values[column] = pa.table({column: cells}).to_pandas(integer_object_nulls=True)[column]
    return Columns(values, range(1, table.num_rows + 1), "row")


def _path_of(schema: pa.Schema, column: str) -> list[str]:
    """A column's name, or those of the structs that hold it and its own; empty: it is not there."""
    if column in schema.names:
        return [column]
    inner = _as_dict(schema)
    parts = column.split(".")
    for part in parts:
        if not isinstance(inner, dict) or part not in inner:
            return []
        inner = inner[part]
    return parts


def _as_dict(fields: Any) -> dict[str, Any]:
    """A schema, or the type of a struct, as nested mappings of its fields' names."""
    return {
        field.name: _as_dict(field.type) if pa.types.is_struct(field.type) else None
        for field in fields
    }


def _require_utf8(cells: pa.ChunkedArray, where: str) -> None:
    try:
        cells.validate(full=True)
    except pa.ArrowInvalid:
        for number, value in enumerate(cells.cast(pa.large_binary()), 1):
            try:
                (value.as_py() or b"").decode("utf-8")
            except UnicodeDecodeError:
                raise UserError(
                    f"{where} holds text that is not UTF-8, first in row {number}; save it as UTF-8"
                ) from None
        raise
