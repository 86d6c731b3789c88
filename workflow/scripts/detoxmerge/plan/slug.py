"""Values as path segments: one spelling per value, `key=value--key=value` for a setting.

No comma: on a cluster Snakemake hands wildcards over in a list that it splits at commas.
"""

import re
from collections.abc import Iterable

from pydantic import BaseModel

INDEX = r"0|[1-9]\d*"
NAME = r"[a-z0-9][a-z0-9_.-]*"  # an alias: no '=', ',', '/' or capital letter
SETTING = r"default|[a-z_]\w*=[^/,=]+(?:--[a-z_]\w*=[^/,=]+)*"


def slug(value: object) -> str:
    """The canonical text of a value in a path.

    Args:
        value: a bool, int, float, alias, or list of these.

    Returns:
        ``true``, ``5``, ``0.5``, ``1e-05``, the alias itself, or ``a+b`` for a list. Floats keep
        ten significant digits, so 0.15000000000000002 is ``0.15``, and 1.0 is ``1``.

    Raises:
        ValueError: a string that cannot stand in a path.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return format(value + 0.0, ".10g")  # + 0.0 turns -0.0 into 0
    if isinstance(value, list | tuple):
        return "+".join(map(slug, value))
    if not re.fullmatch(NAME, str(value)):
        raise ValueError(f"'{value}' cannot stand in a path; use lower-case letters, digits, . _ -")
    return str(value)


def setting_slug(params: BaseModel) -> str:
    """The `{setting}` segment of a method's parameters.

    Only parameters that differ from their defaults are named, in the order of the class's fields,
    so a parameter that is added later, with a default, moves no result.

    Returns:
        For example ``n=4--recipe=small``, or ``default``.
    """
    parts = [
        f"{name}={slug(getattr(params, name))}"
        for name, field in type(params).model_fields.items()
        if field.is_required() or getattr(params, name) != field.default
    ]
    return "--".join(parts) or "default"


def any_of(names: Iterable[str]) -> str:
    """A regular expression without groups that matches just these names, or nothing without any."""
    return "|".join(map(re.escape, names)) or "(?!)"


def edit_pattern(datasets: Iterable[str], methods: Iterable[str]) -> str:
    """A pattern for `{dataset}/{method}/{setting}/seed{seed}`, the edits but the base.

    Args:
        datasets: aliases; the pattern also allows `-`, for a method that uses none.

    Returns:
        A regular expression without capturing groups.
    """
    parts = (any_of([*datasets, "-"]), any_of(methods), SETTING, f"seed(?:{INDEX}|-)")
    return "/".join(f"(?:{part})" for part in parts)
