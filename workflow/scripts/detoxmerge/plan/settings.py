"""The settings of a method: every combination of its swept parameters, and their aliases."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from pydantic import BaseModel

from .entries import MethodEntry
from .registry import params_of


def settings(name: str, entry: MethodEntry) -> list[BaseModel]:
    """Every combination of a method's swept parameters, typed and complete.

    Args:
        entry: its config entry, or a list of them; in each a list is swept, a scalar fixed.

    Raises:
        pydantic.ValidationError: an unknown parameter or a value out of range.
    """
    entries = entry if isinstance(entry, list) else [entry]
    return [
        params_of(name, values).model_validate(values)
        for swept in entries
        for values in combinations(swept)
    ]


def combinations(entry: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Every combination of what is swept, unchecked."""
    swept = {k: v if isinstance(v, list) else [v] for k, v in (entry or {}).items()}
    for values in product(*swept.values()):
        yield dict(zip(swept, values, strict=True))


def aliases(params: BaseModel) -> Iterator[tuple[str, str, str]]:
    """The entries of the catalogue that a method's parameters name.

    Yields:
        Parameter, kind of the catalogue, alias.
    """
    for name, field in type(params).model_fields.items():
        extra = field.json_schema_extra
        kind = extra.get("alias_of") if isinstance(extra, dict) else None
        if kind and getattr(params, name) is not None:
            yield name, str(kind), getattr(params, name)
