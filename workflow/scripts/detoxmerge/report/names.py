"""What a line, a row of panels or a figure is called."""

from typing import Any


def variant(setting: object) -> str:
    """A setting without its N: what is the same along a curve over N.

    Args:
        setting: for example ``n=4--recipe=small``; null for the base model.

    Returns:
        For example ``recipe=small``; empty if nothing else differs from the defaults.
    """
    parts = setting.split("--") if isinstance(setting, str) else []
    return "--".join(p for p in parts if p != "default" and not p.startswith("n="))


def operator_of(variant: str) -> str:
    """The merge operator of a variant.

    Args:
        variant: of `variant`.

    Returns:
        Its name; ``mean`` where none is told.
    """
    told = dict(part.partition("=")[::2] for part in variant.split("--"))
    return told.get("operator", "mean")


def named(edit: Any) -> str:
    """What a row of panels shows.

    Args:
        edit: `dataset`, `method`, `variant`.

    Returns:
        Data set if it is made of one, method and what the setting has beside N.
    """
    how = f" ({edit['variant']})" if edit["variant"] else ""
    of = "" if edit["dataset"] == "-" else f"{edit['dataset']}, "
    return f"{of}{edit['method']}{how}"
