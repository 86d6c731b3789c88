"""The one exception that means: the user can mend this. All others are bugs, with a traceback."""

import errno
import functools
import math
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

NO_MEMORY = ("DefaultCPUAllocator", "can't allocate memory")  # torch's RuntimeError on a CPU
NO_SPACE = ("No space left on device", "os error 28", "PytorchStreamWriter failed writing")


class UserError(Exception):
    """What is wrong, where, and how to mend it, in one sentence."""


@functools.cache
def warn_once(sentence: str) -> None:
    """Print a warning to standard error, the first time that this process meets it."""
    print(sentence, file=sys.stderr)


def nearest(word: object, known: Iterable[object]) -> str:
    """A hint for a name that is not among the known ones.

    Returns:
        ``did you mean 'x'?`` or, if no name is similar, the list of valid names.
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
        known: the valid names there, for an unknown one.
        kind: what an unknown name is called.
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


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of a GPU or of this machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def user_sentence(error: BaseException) -> str | None:
    """The sentence for an error that the user can mend; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if out_of_memory(error):
        kind = "GPU" if type(error).__name__ == "OutOfMemoryError" else "machine"
        first = next(iter(str(error).splitlines()), "MemoryError")
        return (
            f"the {kind} has too little memory ({first}); if this job trains, lower batch_size of "
            "the recipe and raise accumulation_steps; one that measures has come down to a single "
            "row at a time by itself: give it more memory, or shorter windows or prompts"
        )
    seen: BaseException | None = error
    while seen is not None:
        full = isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(words in str(seen) for words in NO_SPACE):
            where = getattr(seen, "filename", None)
            return (
                f"no space left on the disk{f' while writing {where}' if where else ''}; nothing "
                "half-written was kept: free some space and start again"
            )
        seen = seen.__cause__ or seen.__context__
    return None
