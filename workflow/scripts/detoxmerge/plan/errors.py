"""The one exception that means: the user can mend this. All else is our bug, with its traceback."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


class UserError(Exception):
    """What is wrong, where, and how to mend it, in one sentence."""


def nearest(word: object, known: Iterable[object]) -> str:
    """A hint for a name that is not known.

    Args:
        word: what was written.
        known: the valid names.

    Returns:
        ``did you mean 'x'?`` or, when nothing is near, the list of valid names.
    """
    names = sorted(map(str, known))
    near = get_close_matches(str(word), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"valid: {', '.join(names)}" if names else "there is none"


def sentence(error: Mapping[str, Any], where: str, known: Iterable[str], kind: str = "key") -> str:
    """One of pydantic's errors as: where, what, how to mend it.

    Args:
        error: of `ValidationError.errors()`.
        where: the place in the config.
        known: valid names there, for one that is not.
        kind: what an unknown name is called.

    Returns:
        A sentence.
    """
    value, name = error["input"], error["type"]
    if name == "extra_forbidden":
        return f"{where}: unknown {kind}; {nearest(error['loc'][-1], known)}"
    if name == "missing":
        return f"{where}: missing; it has no default"
    if name == "value_error":
        return f"{where}: {error['ctx']['error']}"
    if isinstance(value, str) and name in ("float_type", "int_type"):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            how = f"with a dot, as {number:.1e}, or plainly, and " if name == "float_type" else ""
            return f"{where}: '{value}' is text to YAML, not a number; write it {how}without quotes"
    return f"{where}: {error['msg'][0].lower() + error['msg'][1:]}, not {value!r}"
