"""The one exception that means: the user can mend this. All else is our bug, with its traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


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
