"""Local files that a config names: where they are, and which of them decide what a model is."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError

TOKENIZER_FILES = ("*.json", "*.txt", "*.model")
MODEL_FILES = (*TOKENIZER_FILES, "*.safetensors")  # no pickles, no code
LICENSE_FILES = (
    "LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "COPYING",
    "NOTICE", "NOTICE.md", "NOTICE.txt", "USE_POLICY.md",
)  # fmt: skip
FINE_TUNE_FILES = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json")
# they decide no number, so no manifest lists them, but an exported model comes with them
CARD_FILES = ("README.md", "chat_template.jinja", *LICENSE_FILES)
# how the names of a tokenizer's files begin; generation_config.json is copied with them
CARRIED = (
    "tokenizer", "vocab", "merges", "special_tokens_map", "added_tokens", "chat_template",
    "spiece", "sentencepiece", "generation_config",
)  # fmt: skip


class LocalPath(NamedTuple):
    """A local path that an entry of the config names.

    Attributes:
        key: where the entry has it, for example ``path``.
        path: as the config has it, with `$VARIABLES`.
        kind: ``file``, ``folder`` or ``file or folder``.
        patterns: of the files of a folder that decide what it is.
    """

    key: str
    path: str
    kind: str = "file"
    patterns: tuple[str, ...] = ()

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
        """The file, or the files of the folder that match the patterns, sorted."""
        place = Path(expand_path(self.path))
        if not place.is_dir():
            return [str(place)]
        return sorted(str(file) for pattern in self.patterns for file in place.glob(pattern))


def files_of(paths: Iterable[LocalPath]) -> list[str]:
    """All files behind some local paths, for a rule that must run again when one changes."""
    return [file for path in paths for file in path.files()]


def carried_files(folder: Path) -> list[Path]:
    """The files of a model folder that an edited model needs as well: tokenizer and licence."""
    licenses = {name.lower() for name in LICENSE_FILES}
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and (file.name.startswith(CARRIED) or file.name.lower() in licenses)
    )


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
