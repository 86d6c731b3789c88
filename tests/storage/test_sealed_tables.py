"""A table that certifies itself: the same cells back, and a sentence for others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from detoxmerge.errors import UserError
from detoxmerge.storage.tables import read_table, write_table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    frame = pd.DataFrame(
        {"name": ["a", None, "ü"], "value": [0.1, np.nan, 1 / 3], "n": [1, 2, None]}
    )
    frame["n"] = frame["n"].astype("Int64")
    write_table(frame, tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_it_comes_back_as_it_was(file: Path) -> None:
    frame = read_table(file)
    assert frame["n"].dtype == "Int64"
    assert frame["value"].tolist()[::2] == [0.1, 1 / 3]
    assert frame["name"].isna().tolist() == [False, True, False]
    pd.testing.assert_frame_equal(frame, pd.read_parquet(file))


def test_no_changed_byte_gives_another_table(file: Path) -> None:
    whole, wanted = file.read_bytes(), read_table(file)
    told = 0
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        file.write_bytes(changed)
        try:
            pd.testing.assert_frame_equal(read_table(file), wanted)
        except UserError:
            told += 1
    assert told > len(whole) / 70


def test_a_table_with_other_numbers_is_refused(file: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    other = table.set_column(1, "value", (table["value"].to_numpy() * 1.5,))
    pq.write_table(other.replace_schema_metadata(table.schema.metadata), file)
    with pytest.raises(UserError, match="was changed after it was written"):
        read_table(file)


def test_a_table_without_a_checksum_is_taken_as_it_is(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["a"].tolist() == [1]
    with pytest.raises(UserError, match="is missing"):
        read_table(tmp_path / "none.parquet")
