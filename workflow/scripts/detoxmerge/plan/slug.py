"""Values as path segments: one spelling per value, `key=value--key=value` for a setting.

No comma: on a cluster Snakemake hands wildcards over in a list that it splits at commas.
"""

import re
from collections.abc import Iterable

from pydantic import BaseModel

INDEX = r"0|[1-9]\d*"
NAME = r"[a-z0-9][a-z0-9_.-]*"  # an alias: no '=', ',', '/' or capital letter
SETTING = r"default|[a-z_]\w*=[^/,=]+(?:--[a-z_]\w*=[^/,=]+)*"

MAX_BYTES = 255  # of a file's or a folder's name, whatever the file system
# leaves room for what file names put around it, `toxicity-{scorer}-scale1.234567891e-05.parquet`,
# and for the host and process that a file's name has while it is written
MAX_ALIAS = 100
REPEATS = 20  # of a text at the end of a name, in which Snakemake sees a rule that calls itself


def require_name(name: str, most: int) -> str:
    """The name, if files and folders can bear it.

    Args:
        name: an alias, or a setting.
        most: bytes.

    Raises:
        ValueError: it is too long, or Snakemake refuses it.
    """
    size = len(name.encode())
    if size > most:
        raise ValueError(f"a name of {size} bytes, and {most} are the most; shorten it")
    lengths = range(1, len(name) // REPEATS + 1)
    repeated = [name[-n:] for n in lengths if name.endswith(name[-n:] * REPEATS)]
    if repeated:
        raise ValueError(
            f"the name ends with '{repeated[0]}' {REPEATS} times or more, which Snakemake takes "
            "for an endless loop; choose another one"
        )
    return name


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
