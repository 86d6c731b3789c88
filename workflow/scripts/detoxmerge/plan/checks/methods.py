"""A method's parameters in the config, and what it refuses to work with."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from ...errors import nearest, sentence
from ..config import Config
from ..entries import MethodEntry, as_dict, is_method_entry
from ..registry import METHODS, params_of, refusals
from ..settings import aliases, combinations, settings
from ..slug import MAX_BYTES, require_name, setting_slug


def bad_methods(raw: dict[str, Any]) -> Iterator[str]:
    """A sentence for each parameter in the config that its method refuses.

    Args:
        raw: the config, not parsed yet; what has the wrong form is skipped.
    """
    entries, names = as_dict(raw.get("methods")), as_dict(raw.get("run")).get("methods")
    catalogue = {"recipes": {"default": {}}} | raw
    for name in names if isinstance(names, list) else []:
        entry = entries.get(name)
        if name not in METHODS or name not in entries or not is_method_entry(entry):
            continue  # other checks report it
        yield from _bad_method(name, entry, catalogue)


def _bad_method(name: str, entry: MethodEntry, catalogue: dict[str, Any]) -> Iterator[str]:
    where, errors = f"methods.{name}", []
    for i, swept in enumerate(entry if isinstance(entry, list) else [entry]):
        errors += _bad_entry(name, swept, f"{where}.{i}" if isinstance(entry, list) else where)
    if errors:
        yield from errors
        return
    combined = settings(name, entry)
    slugs = [setting_slug(params) for params in combined]
    if not combined:
        yield f"{where}: an empty list sweeps nothing; give it a value"
    if len(set(slugs)) < len(slugs):
        yield f"{where}: a value is listed twice; leave one out"
    for key, kind, alias in sorted({named for params in combined for named in aliases(params)}):
        if isinstance(known := catalogue.get(kind, {}), dict) and alias not in known:
            yield f"{where}.{key}: '{alias}' is not among {kind}; {nearest(alias, known)}"


def refused_by_methods(config: Config) -> Iterator[str]:
    """A sentence for each thing in the config that a method cannot work with."""
    for name in config.run.methods:
        for params in settings(name, config.methods[name]):
            for refusal in refusals(name, params, config):
                yield f"methods.{name}: {refusal}"


def _bad_entry(name: str, entry: dict[str, Any] | None, where: str) -> list[str]:
    """The errors of the first combination that has any."""
    for values in combinations(entry):
        params = params_of(name, values)
        kind = "parameter"
        if params is not METHODS[name].Params:
            kind += f" with operator {values['operator']}"
        try:
            require_name(setting_slug(params.model_validate(values)), MAX_BYTES)
        except ValidationError as error:
            return [
                sentence(e, ".".join([where, *map(str, e["loc"])]), params.model_fields, kind)
                for e in error.errors()
            ]
        except ValueError as error:
            return [f"{where}: {error}"]
    return []
