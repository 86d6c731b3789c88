"""Local files that a config names: where they are, and which of them decide what a model is."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from .weight_names import ADAPTER, ADAPTER_CONFIG, DELTA, weight_names

TOKENIZER_FILES = ("*.json", "*.txt", "*.model")
LICENSE_FILES = (
    "LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "COPYING",
    "NOTICE", "NOTICE.md", "NOTICE.txt", "USE_POLICY.md",
)  # fmt: skip
FINE_TUNE_FILES = (DELTA, ADAPTER_CONFIG, ADAPTER)  # beside the weights of a model
INDICES = "*.index*.json"  # those of weights count only where they are read


class LocalPath(NamedTuple):
    """A local path that an entry of the config names.

    Attributes:
        key: where the entry has it, for example ``path``.
        path: as the config has it, with `$VARIABLES`.
        kind: ``file``, ``folder`` or ``file or folder``.
        patterns: of the files of a folder that decide what it is.
        weights: whether the weights of a model in the folder decide, too.
    """

    key: str
    path: str
    kind: str = "file"
    patterns: tuple[str, ...] = ()
    weights: bool = False

    def is_there(self) -> bool:
        """Whether the path exists and is of its kind.

        Raises:
            UserError: an environment variable is not set.
        """
        place = Path(expand_path(self.path))
        return ("file" in self.kind and place.is_file()) or (
            "folder" in self.kind and place.is_dir()
        )

    def files(self) -> list[str]:
        """The file, or the files of the folder that decide what it is, sorted."""
        place = Path(expand_path(self.path))
        if not place.is_dir():
            return [str(place)]
        files = deciding_files(place, self.patterns, self.weights)
        return [str(file) for file in files]


def files_of(paths: Iterable[LocalPath]) -> list[str]:
    """All files behind some local paths, for a rule that must run again when one changes."""
    return [file for path in paths for file in path.files()]


def deciding_files(folder: Path, patterns: Iterable[str], weights: bool) -> list[Path]:
    """The files of a folder that decide what it is, sorted.

    Args:
        patterns: of names in the folder; an index of weights is left out.
        weights: whether to add those of a model, with the index that names them.
    """
    found = {file for pattern in patterns for file in folder.glob(pattern)}
    found = {file for file in found if not file.match(INDICES)}
    if weights:
        try:
            model = weight_names(folder, str(folder))
        except UserError:  # the job that reads the folder says what is wrong with it
            return sorted(found)
        found.discard(folder / ADAPTER)  # left over: of an adapter there is a config, too
        found |= {folder / name for name in model.files}
        found |= {folder / model.index_file} if model.index_file else set()
    return sorted(file for file in found if file.is_file())


def expand_path(path: str) -> str:
    """A path of the config with its `$VARIABLES` and `~` replaced.

    Raises:
        UserError: an environment variable is not set.
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    unset = re.search(r"\$\{?(\w+)\}?", expanded)
    if unset:
        raise UserError(
            f"the environment variable {unset[1]} of the path '{path}' is not set; "
            f"export {unset[1]}=FOLDER"
        )
    return expanded
