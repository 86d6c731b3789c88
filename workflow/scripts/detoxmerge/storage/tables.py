"""Tables that nothing else is certified by: Parquet with the checksum of their cells inside."""

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError
from .artefacts import publish

SEAL = b"detoxmerge.sha256"  # in the metadata of the schema


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table, completely or not at all; its index is left out."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), SEAL: _checksum(table)}
    with publish(path) as part:
        pq.write_table(table.replace_schema_metadata(metadata), part)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table; one without a checksum, of an older version, is taken as it is.

    Raises:
        UserError: the file is missing, broken or changed.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; run the workflow again, it makes the file")
    try:
        table = pq.read_table(path)
        seal, found = (table.schema.metadata or {}).get(SEAL), _checksum(table)
    except (OSError, ValueError, pa.ArrowException) as error:
        why = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read ({why}); delete it and run again") from None
    if seal is not None and seal != found:
        raise UserError(f"{path} was changed after it was written; delete it and run again")
    return table.to_pandas()


def _checksum(table: pa.Table) -> bytes:
    """SHA-256 of the cells, and of what the schema says of them."""
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != SEAL}
    fields = [(field.name, str(field.type)) for field in table.schema]
    content = (sorted(metadata.items()), fields, table.to_pylist())
    return hashlib.sha256(repr(content).encode()).hexdigest().encode()
