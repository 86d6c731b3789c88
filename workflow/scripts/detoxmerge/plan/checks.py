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
from .catalogue import Model, Scorer, Source
from .errors import UserError, nearest
from .methods import METHODS
from .slug import setting_slug, slug

TOKENIZER_FILES = ["*.json", "*.txt", "*.model"]
MODEL_FILES = [*TOKENIZER_FILES, "*.safetensors"]  # no pickles, no code


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


def cross_errors(config: "schema.Config") -> list[str]:
    """What is wrong with a config whose entries are each well formed.

    Args:
        config: the parsed config.

    Returns:
        One sentence per error; empty if there is none.
    """
    return [*_bad_lists(config), *_bad_methods(config), *_missing_paths(config)]


def unknown_aliases(raw: dict[str, Any]) -> list[str]:
    """Names in `run` that the catalogue does not have, and methods without a file.

    It reads the config before it is parsed, so that a typo elsewhere does not hide these.

    Args:
        raw: the config; what is not of the right form is passed over.

    Returns:
        One sentence per name.
    """
    run = raw.get("run") if isinstance(raw.get("run"), dict) else {}
    sweep = run.get("sweep") if isinstance(run.get("sweep"), dict) else {}
    errors = []
    for kind in ("models", "datasets", "methods", "prompts", "corpora", "scorers"):
        place = "run" if kind in ("models", "datasets", "methods") else "run.sweep"
        names, known = (run if place == "run" else sweep).get(kind), raw.get(kind)
        if not isinstance(names, list) or not isinstance(known, dict):
            continue
        errors += [
            f"{place}.{kind}.{i}: '{name}' is not among {kind}; {nearest(name, known)}"
            for i, name in enumerate(names)
            if isinstance(name, str) and name not in known
        ]
    methods = raw.get("methods")
    return errors + [
        f"methods.{name}: no file edit/methods/{name}.py; {nearest(name, METHODS)}"
        for name in (methods if isinstance(methods, dict) else {})
        if name not in METHODS
    ]


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
        said = [str(v) if isinstance(v, str) else slug(v) for v in values]  # as in paths
        twice = sorted({v for v in said if said.count(v) > 1})
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
    swept = {k: v if isinstance(v, list) else [v] for k, v in (entry or {}).items()}
    params = METHODS[name].Params
    return [params(**dict(zip(swept, values, strict=True))) for values in product(*swept.values())]


def _bad_methods(config: "schema.Config") -> Iterator[str]:
    for name in config.run.methods:
        if name not in METHODS or name not in config.methods:
            continue  # an unknown alias, said elsewhere
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
                elif e["type"] == "missing":
                    yield f"{where}.{key}: missing; it has no default"
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
    for alias in _known(run.models, config.models):
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
        for alias in _known(aliases, getattr(config, kind)):
            yield from _files(f"{kind}.{alias}", [getattr(config, kind)[alias]])
    for alias in _known(run.sweep.scorers, config.scorers):
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
