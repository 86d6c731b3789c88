"""What the library transformers makes of a folder, without running code that lies there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..storage.artefacts import read_json


def read_folder(kind: Any, folder: Path, **options: Any) -> Any:
    """What a class of transformers makes of a folder: without internet, and without running code.

    Args:
        kind: has `from_pretrained`: of a config, a model or a tokenizer.
        options: for it.

    Raises:
        UserError: the folder's config names code of its own that it cannot be loaded without.
    """
    with code_never_runs(folder):
        return kind.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )


def read_tokenizer(folder: Path) -> Any:
    """As `read_folder`, for a tokenizer; the library would take another for an unknown class.

    Raises:
        UserError: the folder's tokenizer is of a class of its own.
    """
    import transformers

    tokenizer = read_folder(transformers.AutoTokenizer, folder)
    for name in ("tokenizer_config.json", "config.json"):
        file = folder / name
        config = read_json(file) if file.is_file() else {}
        known, auto_map = config.get("tokenizer_class"), config.get("auto_map") or {}
        own = name == "tokenizer_config.json" or "AutoTokenizer" in auto_map
        if auto_map and own and not (isinstance(known, str) and hasattr(transformers, known)):
            raise _needs_code(folder)
        if known:
            break
    return tokenizer


@contextlib.contextmanager
def code_never_runs(folder: Path) -> Iterator[None]:
    """Turns the library's refusal to run the code of a folder into one sentence."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):  # an option that its message advises
            raise
        raise _needs_code(folder) from None


def _needs_code(folder: Path) -> UserError:
    return UserError(
        f"'{folder}' needs code of its own (auto_map in its configs), which is not run; take a "
        "model that the library transformers has itself"
    )
