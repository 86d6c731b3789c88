"""Read a config: complete it with defaults, or refuse it with one sentence for each error."""

import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import UserError, sentence
from .checks.methods import bad_methods, refused_by_methods
from .checks.missing import missing_finetunes, missing_paths, missing_sources
from .checks.names import repetitions, unknown_aliases, unknown_exports
from .checks.repeated_keys import repeated_keys
from .checks.stages import bad_selectors, repeated_generations, shared_texts, trained_on
from .config import Config
from .grid import Grid


def load_config(raw: dict[str, Any], files: Iterable[Path | str] = ()) -> Config:
    """Check a merged config.

    Args:
        raw: mappings, lists and scalars as YAML gives them.
        files: that it was read from; none: they are not looked at.

    Returns:
        The config with its defaults.

    Raises:
        SystemExit: with one sentence per error: where, what, how to mend it.
    """
    try:
        raw = _coerced(raw)
        errors = [*repeated_keys(files), *unknown_aliases(raw), *bad_methods(raw)]
        config = Config.model_validate(raw)
        errors += [*repetitions(config), *missing_paths(config), *shared_texts(config)]
        if not errors:
            errors = [*bad_selectors(config), *repeated_generations(config)]
            errors += [*trained_on(config), *refused_by_methods(config)]
        if not errors:  # a study with errors has no grid
            grid = Grid(config)
            errors = [*missing_finetunes(grid), *missing_sources(grid), *unknown_exports(grid)]
    except UserError as found:
        errors = [str(found)]
    except ValidationError as found:
        errors += [_sentence(error) for error in found.errors()]
    if errors:
        raise SystemExit("\n".join(["The config is not valid:", *(f"  {e}" for e in errors)]))
    return config


def _coerced(raw: dict[str, Any]) -> dict[str, Any]:
    """`--config run='{...}'` hands over text: read it as YAML, and plain numbers in its lists."""
    raw = dict(raw)
    run = raw.get("run")
    run = _read(run, "run")
    if isinstance(run, dict):
        run = {key: _read(value, f"run.{key}") for key, value in run.items()}
        for key in ("seeds", "scales"):
            if isinstance(run.get(key), list):
                run[key] = [_read(value, f"run.{key}") for value in run[key]]
    raw["run"] = run
    return raw


def _read(value: Any, where: str) -> Any:
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise UserError(f"{where}: its text is no YAML ({why}); check brackets") from None


def _sentence(error: Any) -> str:
    unknown = error["type"] == "extra_forbidden"
    known = _model_at(error["loc"][:-1]).model_fields if unknown else ()
    return sentence(error, _place(error["loc"]), known)


def _place(loc: tuple[Any, ...]) -> str:
    return ".".join(map(str, loc)) or "the config"


def _model_at(loc: tuple[Any, ...]) -> type[BaseModel]:
    """The entry class whose fields are valid at a place of the config."""
    here: Any = Config
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[part].annotation
        else:  # a key of a mapping, or a position in a list: go to the type of the values
            here = typing.get_args(here)[-1]
        here = _plain(here)
    return here


def _plain(annotation: Any) -> Any:
    """`X | None` and Annotated[X, ...] as X."""
    if typing.get_origin(annotation) is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _plain(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return annotation
