"""Local files that a config names: where they are, and which of them decide what a model is."""

import os
import re
from pathlib import Path

from ..errors import UserError
from .catalogue import Model, Scorer, Shard

TOKENIZER_FILES = ["*.json", "*.txt", "*.model"]
MODEL_FILES = [*TOKENIZER_FILES, "*.safetensors"]  # no pickles, no code
LICENSE_FILES = [
    "LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "COPYING",
    "NOTICE", "NOTICE.md", "NOTICE.txt", "USE_POLICY.md",
]  # fmt: skip
SHARD_FILES = ["*.safetensors", "*.safetensors.index.json", "adapter_config.json"]
# decide no number and stand in no manifest, but an exported model is given with them
CARD_FILES = ["README.md", "chat_template.jinja", *LICENSE_FILES]
# beginnings of the names of a tokenizer's files; generation_config.json goes with them
CARRIED = (
    "tokenizer", "vocab", "merges", "special_tokens_map", "added_tokens", "chat_template",
    "spiece", "sentencepiece", "generation_config",
)  # fmt: skip


def carried_files(folder: Path) -> list[Path]:
    """Files of a model folder that an edited model is given with: its tokenizer and its licence.

    Args:
        folder: of the model.

    Returns:
        Paths, sorted.
    """
    licenses = {name.lower() for name in LICENSE_FILES}
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and (file.name.startswith(CARRIED) or file.name.lower() in licenses)
    )


def expand_path(path: str) -> str:
    """A path of the config with its `$VARIABLES` and `~` replaced.

    Args:
        path: as the config has it.

    Returns:
        The path on this machine.

    Raises:
        UserError: an environment variable is not set.
    """
    found = os.path.expanduser(os.path.expandvars(path))
    unset = re.search(r"\$\{?(\w+)\}?", found)
    if unset:
        raise UserError(
            f"the environment variable {unset[1]} of the path '{path}' is not set; "
            f"export {unset[1]}=FOLDER"
        )
    return found


def files_of_model(model: Model) -> list[str]:
    """The files that decide what a base model in a local folder is.

    Args:
        model: a catalogue entry.

    Returns:
        Paths of its weights, configs and tokenizer; none if it is no local folder.
    """
    if not model.path:
        return []
    folder = Path(expand_path(model.path))
    return sorted(str(f) for pattern in MODEL_FILES for f in folder.glob(pattern))


def files_of_shard(shard: Shard) -> list[str]:
    """The files that decide what a fine-tune made elsewhere is.

    Args:
        shard: a catalogue entry.

    Returns:
        Paths of its weights and of an adapter's config; none if it is on the hub.
    """
    if not shard.path:
        return []
    path = Path(expand_path(shard.path))
    if not path.is_dir():
        return [str(path)]
    return sorted(str(file) for pattern in SHARD_FILES for file in path.glob(pattern))


def files_of_scorer(scorer: Scorer) -> list[str]:
    """The files that decide what a scorer with a local checkpoint is.

    Args:
        scorer: a catalogue entry.

    Returns:
        Paths of the checkpoint and of its tokenizer; none if it is no local checkpoint.
    """
    if not scorer.checkpoint:
        return []
    folder = Path(expand_path(scorer.checkpoint.tokenizer))
    tokenizer = [str(f) for pattern in TOKENIZER_FILES for f in folder.glob(pattern)]
    return sorted([expand_path(scorer.checkpoint.file), *tokenizer])
