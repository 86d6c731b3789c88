"""Local files that a selection uses and that are not there.

Only what the selection uses is looked up on disk: the catalogue may name what is not here.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..config import Config
from ..entries import Source
from ..grid import Grid
from ..local import LocalPath, expand_path

Place = tuple[str, LocalPath]  # the config entry that names a path, and the path


def missing_paths(config: Config) -> list[str]:
    """Local paths of the selection that are not there.

    Returns:
        One sentence per path; one for all paths that need the same unset variable.
    """
    return _missing(_local_paths(config))


def missing_sources(grid: Grid) -> list[str]:
    """Local paths of what only edits are made from, models and scorers; as `missing_paths`."""
    p, config = grid.paths, grid.config
    generations, toxicity = (x.replace("{edit}", "base") for x in (p.generations, p.toxicity))
    prompts = {w["prompts"] for w in grid.made_from(generations)}
    scorers = {w["scorer"] for w in [*grid.made_from(toxicity), *grid.made_from(p.scorer)]}
    models = {w["model"] for w in grid.made_from(p.base)} - set(config.run.bases)
    places = list(_paths_of_scorers(config, sorted(scorers)))
    places += [
        (f"models.{m}", path) for m in sorted(models) for path in config.models[m].local_paths()
    ]
    for alias in sorted(prompts):
        places += _paths_of_sources(f"prompts.{alias}", [config.prompts[alias]])
    return _missing(places)


def missing_finetunes(grid: Grid) -> list[str]:
    """Fine-tunes made elsewhere that an edit takes, and that its model lacks.

    Returns:
        One sentence per model with too few of them, else as `missing_paths`.
    """
    models, errors = grid.config.models, []
    last_taken = dict(grid.given_finetunes)  # by model; of sorted pairs the last one stays
    for alias, last in last_taken.items():
        if last >= (count := len(models[alias].fine_tunes)):
            errors.append(
                f"models.{alias}.fine_tunes: {count or 'no'} fine-tune{'s' if count != 1 else ''} "
                f"made elsewhere, and a method takes the first {last + 1}; name more, or lower its "
                "n"
            )
    if errors:
        return errors
    return _missing(
        (f"models.{alias}.fine_tunes.{i}", path)
        for alias, i in grid.given_finetunes
        for path in models[alias].fine_tunes[i].local_paths()
    )


def _missing(places: Iterable[Place]) -> list[str]:
    errors: list[str] = []
    unset: dict[str, list[str]] = {}
    for entry, path in dict.fromkeys(places):
        where = f"{entry}.{path.key}"
        try:
            is_there = path.is_there()
        except UserError as error:
            # one sentence per variable: a folder that is not set makes all paths below it fail
            unset.setdefault(str(error).split(" of the path ")[0], []).append(f"{where}: {error}")
            continue
        if not is_there:
            errors.append(
                f"{where}: no {path.kind} '{Path(expand_path(path.path))}'; mend the path, or "
                f"fetch the {path.kind} first"
            )
    for sentences in unset.values():
        more = len(sentences) - 1
        errors.append(sentences[0] + (f" ({more} more paths need it)" if more else ""))
    return errors


def _local_paths(config: Config) -> Iterator[Place]:
    """Every local path that the selection uses, except those of fine-tunes made elsewhere."""
    run = config.run
    for alias in _known(run.bases, config.models):
        model = config.models[alias]
        yield from ((f"models.{alias}", path) for path in model.local_paths())
        if model.pretrain:
            yield from _paths_of_sources(f"models.{alias}.pretrain.texts", model.pretrain.texts)
    measured = {
        kind: [alias for stage in run.stages.values() for alias in getattr(stage, kind)]
        for kind in ("prompts", "corpora", "scorers")
    }
    for kind in ("datasets", "prompts", "corpora"):
        aliases = run.datasets if kind == "datasets" else measured[kind]
        for alias in _known(aliases, getattr(config, kind)):
            yield from _paths_of_sources(f"{kind}.{alias}", [getattr(config, kind)[alias]])
    yield from _paths_of_scorers(config, measured["scorers"])


def _paths_of_scorers(config: Config, aliases: list[str]) -> Iterator[Place]:
    for alias in _known(aliases, config.scorers):
        scorer = config.scorers[alias]
        yield from ((f"scorers.{alias}.{scorer.kind}", path) for path in scorer.local_paths())


def _known(aliases: list[str], catalogue: dict[str, Any]) -> list[str]:
    return [alias for alias in aliases if alias in catalogue]


def _paths_of_sources(where: str, sources: Iterable[Source]) -> Iterator[Place]:
    return ((where, path) for source in sources for path in source.local_paths())
