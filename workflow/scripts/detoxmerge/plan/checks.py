"""Config errors that span entries: unknown aliases, a method's parameters, missing local files.

Only what the selection uses is looked up on disk: the catalogue may name what is not here.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from . import config as schema
from .catalogue import Model, Scorer, Source, as_list
from .errors import UserError, nearest
from .methods import METHODS
from .slug import setting_slug


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


def cross_errors(config: "schema.Config") -> list[str]:
    """What is wrong with a config whose entries are each well formed.

    Args:
        config: the parsed config.

    Returns:
        One sentence per error; empty if there is none.
    """
    errors = list(_unknown_aliases(config)) + list(_bad_lists(config))
    if not errors:  # later checks follow the aliases
        errors += list(_bad_methods(config)) + list(_missing_paths(config))
    return errors


def _unknown_aliases(config: "schema.Config") -> Iterator[str]:
    run = config.run
    asked = {
        "models": (run.models, config.models),
        "datasets": (run.datasets, config.datasets),
        "methods": (run.methods, config.methods),
        "sweep.prompts": (run.sweep.prompts, config.prompts),
        "sweep.corpora": (run.sweep.corpora, config.corpora),
        "sweep.scorers": (run.sweep.scorers, config.scorers),
    }
    for key, (names, known) in asked.items():
        for i, name in enumerate(names):
            if name not in known:
                kind = key.split(".")[-1]
                yield f"run.{key}.{i}: '{name}' is not among {kind}; {nearest(name, known)}"
    for name in config.methods:
        if name not in METHODS:
            yield f"methods.{name}: no file edit/methods/{name}.py; {nearest(name, METHODS)}"


def _bad_lists(config: "schema.Config") -> Iterator[str]:
    run = config.run
    lists = {
        "models": run.models,
        "datasets": run.datasets,
        "methods": run.methods,
        "seeds": run.seeds,
        "scales": run.scales,
        "sweep.prompts": run.sweep.prompts,
        "sweep.corpora": run.sweep.corpora,
        "sweep.scorers": run.sweep.scorers,
    }
    for key, values in lists.items():
        twice = sorted({str(v) for v in values if values.count(v) > 1})
        if twice:
            yield f"run.{key}: {', '.join(twice)} stands there twice; leave one out"
    for i, scale in enumerate(run.scales):
        if not math.isfinite(scale) or scale <= 0:
            yield f"run.scales.{i}: must be a number above 0 (0 is the base model), not {scale}"
    for i, seed in enumerate(run.seeds):
        if seed < 0:
            yield f"run.seeds.{i}: must be 0 or more, not {seed}"
    both = sorted(set(run.sweep.prompts) & set(run.sweep.corpora))
    if both:  # they share the folder of an edit's measurements
        yield f"run.sweep: '{both[0]}' names a prompt set and a corpus; rename one"


def settings(name: str, entry: dict[str, Any] | None) -> list[BaseModel]:
    """Every combination of a method's swept parameters.

    Args:
        name: the method.
        entry: its config entry; a list is swept, a scalar fixed.

    Returns:
        The method's ``Params``, typed and complete.

    Raises:
        pydantic.ValidationError: an unknown parameter or a value out of range.
    """
    swept = {key: as_list(value) for key, value in (entry or {}).items()}
    params = METHODS[name].Params
    return [params(**dict(zip(swept, values, strict=True))) for values in product(*swept.values())]


def _bad_methods(config: "schema.Config") -> Iterator[str]:
    for name in config.run.methods:
        where = f"methods.{name}"
        try:
            found = settings(name, config.methods[name])
            slugs = [setting_slug(params) for params in found]
        except ValidationError as error:
            known = METHODS[name].Params.model_fields
            for e in error.errors():
                key = ".".join(map(str, e["loc"]))
                if e["type"] == "extra_forbidden":
                    yield f"{where}.{key}: unknown parameter; {nearest(key, known)}"
                else:
                    yield f"{where}.{key}: {e['msg'][0].lower() + e['msg'][1:]}, not {e['input']!r}"
            continue
        except ValueError as error:
            yield f"{where}: {error}"
            continue
        if not found:
            yield f"{where}: an empty list sweeps nothing; give it a value"
        if len(set(slugs)) < len(slugs):
            yield f"{where}: a value stands there twice; leave one out"
        for recipe in {getattr(p, "recipe", "default") for p in found} - set(config.recipes):
            yield f"{where}.recipe: no recipe '{recipe}'; {nearest(recipe, config.recipes)}"


def _missing_paths(config: "schema.Config") -> Iterator[str]:
    for where, path, is_right, kind in _local_paths(config):
        try:
            full = expand_path(path)
        except UserError as error:
            yield f"{where}: {error}"
            continue
        if not is_right(Path(full)):
            yield f"{where}: no {kind} '{full}'; mend the path, or fetch the {kind} first"


def _local_paths(config: "schema.Config") -> Iterator[tuple[str, str, Callable[[Path], bool], str]]:
    """(where, path, test, kind) of every local path that the selection uses."""
    run = config.run
    for alias in run.models:
        model: Model = config.models[alias]
        if model.path:
            yield f"models.{alias}.path", model.path, Path.is_dir, "folder"
        if model.pretrain:
            yield from _files(f"models.{alias}.pretrain.texts", model.pretrain.texts)
    for kind, aliases in (
        ("datasets", run.datasets),
        ("prompts", run.sweep.prompts),
        ("corpora", run.sweep.corpora),
    ):
        for alias in aliases:
            yield from _files(f"{kind}.{alias}", [getattr(config, kind)[alias]])
    for alias in run.sweep.scorers:
        scorer: Scorer = config.scorers[alias]
        if scorer.checkpoint:
            where = f"scorers.{alias}.checkpoint"
            yield f"{where}.file", scorer.checkpoint.file, Path.is_file, "file"
            yield f"{where}.tokenizer", scorer.checkpoint.tokenizer, Path.is_dir, "folder"
        if scorer.train:
            yield from _files(f"scorers.{alias}.train", scorer.train.sources)


def _files(where: str, sources: Iterable[Source]) -> Iterator[tuple[str, str, Any, str]]:
    for source in sources:
        for path in source.path or []:
            yield f"{where}.path", path, Path.is_file, "file"
