"""Local files that a config names: where they are, and which of them are missing.

Only what the selection uses is looked up on disk: the catalogue may name what is not here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from .catalogue import Model, Scorer, Shard
    from .config import Config
    from .entries import Source
    from .grid import Grid

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


def missing_paths(config: Config) -> list[str]:
    """Local paths of the selection that are not there.

    Args:
        config: the parsed config.

    Returns:
        One sentence per path; one for all paths that need the same unset variable.
    """
    return _missing(_local_paths(config))


def missing_sources(grid: Grid) -> list[str]:
    """Local paths of prompt sets and scorers that edits are made from.

    Args:
        grid: of a config otherwise without errors.

    Returns:
        As `missing_paths`.
    """
    p, config = grid.paths, grid.config
    samples, scores = (x.replace("{edit}", "base") for x in (p.generations, p.toxicity))
    prompts = {w["prompts"] for w in grid.made_from(samples)}
    scorers = {w["scorer"] for w in [*grid.made_from(scores), *grid.made_from(p.scorer)]}
    found = list(_files_of_scorers(config, sorted(scorers)))
    for alias in sorted(prompts):
        found += _files(f"prompts.{alias}", [config.prompts[alias]])
    return _missing(found)


def missing_shards(grid: Grid) -> list[str]:
    """Fine-tunes made elsewhere that an edit takes, and that its model lacks.

    Args:
        grid: of a config otherwise without errors.

    Returns:
        One sentence per model with too few of them, else as `missing_paths`.
    """
    models, errors = grid.config.models, []
    needed = dict(grid.given_shards)  # of each model the last one
    for alias, last in needed.items():
        if last >= (count := len(models[alias].shards)):
            errors.append(
                f"models.{alias}.shards: {count or 'no'} fine-tune{'s' if count != 1 else ''} made "
                f"elsewhere, and a method takes the first {last + 1}; name more, or lower its n"
            )
    if errors:
        return errors
    given = [(f"models.{m}.shards.{i}", models[m].shards[i].path) for m, i in grid.given_shards]
    return _missing((at, path, Path.exists, "file or folder") for at, path in given if path)


Local = tuple[str, str, Callable[[Path], bool], str]  # where, path, test, kind


def _missing(paths: Iterable[Local]) -> list[str]:
    errors: list[str] = []
    unset: dict[str, list[str]] = {}
    for where, path, is_right, kind in dict.fromkeys(paths):
        try:
            full = expand_path(path)
        except UserError as error:
            unset.setdefault(str(error).split(" of the path ")[0], []).append(f"{where}: {error}")
            continue
        if not is_right(Path(full)):
            errors.append(f"{where}: no {kind} '{full}'; mend the path, or fetch the {kind} first")
    for sentences in unset.values():
        more = len(sentences) - 1
        errors.append(sentences[0] + (f" ({more} more paths need it)" if more else ""))
    return errors


def _local_paths(config: Config) -> Iterator[Local]:
    """Every local path that the selection uses, but for fine-tunes made elsewhere."""
    run = config.run
    for alias in _known(run.bases, config.models):
        model: Model = config.models[alias]
        if model.path:
            yield f"models.{alias}.path", model.path, Path.is_dir, "folder"
        if model.pretrain:
            yield from _files(f"models.{alias}.pretrain.texts", model.pretrain.texts)
    measured = {
        kind: [alias for stage in run.stages.values() for alias in getattr(stage, kind)]
        for kind in ("prompts", "corpora", "scorers")
    }
    for kind in ("datasets", "prompts", "corpora"):
        aliases = run.datasets if kind == "datasets" else measured[kind]
        for alias in _known(aliases, getattr(config, kind)):
            yield from _files(f"{kind}.{alias}", [getattr(config, kind)[alias]])
    yield from _files_of_scorers(config, measured["scorers"])


def _files_of_scorers(config: Config, aliases: list[str]) -> Iterator[Local]:
    for alias in _known(aliases, config.scorers):
        scorer: Scorer = config.scorers[alias]
        if scorer.checkpoint:
            where = f"scorers.{alias}.checkpoint"
            yield f"{where}.file", scorer.checkpoint.file, Path.is_file, "file"
            yield f"{where}.tokenizer", scorer.checkpoint.tokenizer, Path.is_dir, "folder"
        if scorer.train:
            yield from _files(f"scorers.{alias}.train", scorer.train.sources)


def _known(aliases: list[str], catalogue: dict[str, Any]) -> list[str]:
    return [alias for alias in aliases if alias in catalogue]


def _files(where: str, sources: Iterable[Source]) -> Iterator[tuple[str, str, Any, str]]:
    for source in sources:
        for path in source.path or []:
            yield f"{where}.path", path, Path.is_file, "file"
