"""Read a config: complete it with defaults, or refuse it with one sentence for each error."""

import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import UserError, sentence
from .checks.methods import bad_methods, refused_by_methods
from .checks.missing import missing_finetunes, missing_paths, missing_sources
from .checks.names import repetitions, unknown_aliases, unknown_exports
from .checks.repeated_keys import repeated_keys
from .checks.results_folder import Where, bad_results
from .checks.sizes import beyond_contexts, too_many_shards
from .checks.stages import bad_selectors, repeated_generations, shared_texts, trained_on
from .config import Config, as_folder
from .grid import Grid

PLAIN_TEXT = ("results", "device")  # keys whose value is text


def load_config(
    raw: Mapping[str, Any],
    files: Iterable[Path | str] = (),
    command_line: Mapping[str, Any] | None = None,
    *,
    where: Where | None = None,
    prefixed: Callable[[str], str] = str,
) -> Config:
    """Check a merged config, and complete it with its defaults.

    Args:
        raw: mappings, lists and scalars as YAML gives them.
        files: that it was read from, for keys that they repeat.
        command_line: the part of `raw` that was given with `--config`. Snakemake leaves its
            scalars as text, so they are read as YAML here.
        where: the workflow runs, to see what lies in the folder of the results.
        prefixed: gives that folder the prefix of a workflow that imports this one.

    Raises:
        SystemExit: with one sentence per error: where, what, how to mend it.
    """
    try:
        raw = _typed_as_yaml(raw, command_line or {})
        errors = [*repeated_keys(files), *unknown_aliases(raw), *bad_methods(raw)]
        errors += _bad_results(raw.get("results"), where, prefixed)
        config = Config.model_validate(raw)
        config = config.model_copy(update={"results": prefixed(config.results)})
        errors += [*repetitions(config), *missing_paths(config), *shared_texts(config)]
        if not errors:
            errors = [*bad_selectors(config), *repeated_generations(config)]
            errors += [*trained_on(config), *refused_by_methods(config)]
        if not errors:  # a study with errors has no grid
            grid = Grid(config)
            errors = [*missing_finetunes(grid), *missing_sources(grid), *unknown_exports(grid)]
            errors += [*too_many_shards(grid), *beyond_contexts(grid)]
    except UserError as error:
        errors = [str(error)]
    except ValidationError as invalid:
        errors += [_sentence(error) for error in invalid.errors()]
    if errors:
        raise SystemExit("\n".join(["The config is not valid:", *(f"  {e}" for e in errors)]))
    return config


def _bad_results(
    results: Any, where: Where | None, prefixed: Callable[[str], str]
) -> Iterator[str]:
    """As `bad_results`, of a config that is not parsed yet; what has the wrong form is skipped."""
    try:
        folder = as_folder(
            str(Config.model_fields["results"].default if results is None else results)
        )
    except ValueError:
        return
    yield from bad_results(prefixed(folder), where)


def _typed_as_yaml(raw: Mapping[str, Any], command_line: Mapping[str, Any]) -> dict[str, Any]:
    """The config with what `--config run='{...}'` handed over as text read as YAML."""
    typed = dict(raw)
    for key in raw.keys() - set(PLAIN_TEXT):
        if isinstance(raw[key], str):
            typed[key] = _typed(raw[key], key)
        elif key in command_line:
            typed[key] = _typed_where_given(raw[key], command_line[key], key)
    return typed


def _typed_where_given(value: Any, given: Any, where: str) -> Any:
    """Only what `--config` gave is read: in a file, quotes around a number are meant."""
    if not (isinstance(value, dict) and isinstance(given, dict)):
        return _typed(value, where)
    return {
        key: _typed_where_given(inner, given[key], f"{where}.{key}") if key in given else inner
        for key, inner in value.items()
    }


def _typed(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _typed(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner, f"{where}.{i}") for i, inner in enumerate(value)]
    if not isinstance(value, str) or not value.strip():
        return value
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise UserError(f"{where}: its text is not YAML ({why}); check brackets") from None
    if isinstance(read, dict | list):
        # a sentence with a colon is a mapping to YAML, but was meant as text
        return _typed(read, where) if value.lstrip()[0] in "{[" else value
    # a text stays as it is, with the spaces around it
    return value if isinstance(read, str) else read


def _sentence(error: Any) -> str:
    unknown = error["type"] == "extra_forbidden"
    known = _model_at(error["loc"][:-1]).model_fields if unknown else ()
    return sentence(error, _place(error["loc"]), known)


def _place(loc: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in loc if part != "[key]") or "the config"


def _model_at(loc: tuple[Any, ...]) -> type[BaseModel]:
    """The entry class whose fields are valid at a place of the config."""
    kind: Any = Config
    for part in loc:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[part].annotation
        else:  # a key of a mapping, or a position in a list: go to the type of the values
            kind = typing.get_args(kind)[-1]
        kind = _plain(kind)
    return kind


def _plain(annotation: Any) -> Any:
    """`X | None` and Annotated[X, ...] as X."""
    if typing.get_origin(annotation) is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _plain(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return annotation
