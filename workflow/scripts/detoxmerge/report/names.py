"""What edits are called in figures."""

from typing import Any


def variant(setting: object) -> str:
    """A setting without its N: what is the same along a curve over N.

    Args:
        setting: for example ``n=4--recipe=small``; null for the base model.

    Returns:
        For example ``recipe=small``; empty if nothing else differs from the defaults.
    """
    words = setting.split("--") if isinstance(setting, str) else []
    return "--".join(word for word in words if word != "default" and not word.startswith("n="))


def operator_of(variant: str) -> str:
    """The merge operator of a variant; ``mean``, the default, if it names none."""
    params = dict(word.partition("=")[::2] for word in variant.split("--"))
    return params.get("operator", "mean")


def named(edit: Any) -> str:
    """The title of a row of panels: the data set, if there is one, the method and its variant.

    Args:
        edit: `dataset`, `method`, `variant`.
    """
    variant = f" ({edit['variant']})" if edit["variant"] else ""
    dataset = "" if edit["dataset"] == "-" else f"{edit['dataset']}, "
    return f"{dataset}{edit['method']}{variant}"
