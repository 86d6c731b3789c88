"""Local files that a selection uses and that are not there.

Only what the selection uses is looked up on disk: the catalogue may name what is not here.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..catalogue import Model, Scorer
from ..config import Config
from ..entries import Source
from ..grid import Grid
from ..local import expand_path


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
