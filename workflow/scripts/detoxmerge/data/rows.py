"""Rows of local .parquet, .jsonl, .json and .csv files, through `datasets`.

Its cache trusts the time of a file to see whether it changed, so nothing is kept in the cache.
"""

import contextlib
import errno
import glob
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import UserError
from ..plan.local import expand_path

if TYPE_CHECKING:
    import datasets

FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


@contextlib.contextmanager
def open_files(paths: list[str], text: str, name: str) -> Iterator["datasets.Dataset"]:
    """The rows of some files, one after another, as a `datasets.Dataset` while the context lasts.

    Args:
        paths: of one format; $VARIABLES are expanded. In the column `text` of a CSV all words are
            text, also ``NA`` and ``null``, and only an empty field is missing.
        name: what the config calls them, for error messages.

    Raises:
        UserError: a file is missing, has another format, or cannot be read.
    """
    import datasets

    files = [Path(expand_path(path)) for path in paths]
    kind = _format(files, name)
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=cache)
    except OSError as error:
        _raise_fault_of_the_machine(error)
        raise
    options: dict[str, Any] = {"split": "train"}
    if kind == "csv":
        options |= {"keep_default_na": False, "na_values": [""], "index_col": False}
        options["converters"] = {text: str}
    with temporary as folder, warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            # a file name may have brackets, and is not a pattern
            names = [glob.escape(str(file)) for file in files]
            rows = datasets.load_dataset(kind, data_files=names, cache_dir=folder, **options)
        except Exception as error:  # each format's reader raises its own types
            _raise_fault_of_the_machine(error)
            raise UserError(f"{name}: {', '.join(map(str, files))} {_why(error)}") from error
        yield rows


def _format(files: list[Path], name: str) -> str:
    kinds = set()
    for file in files:
        if not file.is_file():
            raise UserError(f"{name}: no file '{file}'; mend its path in the config")
        suffix = next((s for s in reversed(file.suffixes) if s in FORMATS), None)
        if suffix is None:
            raise UserError(f"{name}: '{file}' has none of the formats {', '.join(FORMATS)}")
        kinds.add(FORMATS[suffix])
    if len(kinds) > 1:
        raise UserError(f"{name}: its files have different formats: {', '.join(sorted(kinds))}")
    return kinds.pop()


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _raise_fault_of_the_machine(error: Exception) -> None:
    """Raise what is not the fault of the file: a full disk, a missing permission."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in OF_THE_MACHINE:
            if cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise cause
            raise UserError(
                f"{cause.filename}: {cause.strerror}; mend its permissions, or name another place"
            ) from error


def _why(error: Exception) -> str:
    causes = list(_causes(error))
    if any(isinstance(cause, pd.errors.ParserWarning) for cause in causes):
        return (
            "has rows with more fields than its first line names; put texts with commas in quotes"
        )
    if any(isinstance(cause, UnicodeDecodeError) for cause in causes):
        return "holds text that is not UTF-8; save it as UTF-8"
    cause = error.__cause__ or error
    why = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
    return f"cannot be read ({why}); is it complete?"
