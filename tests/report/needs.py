"""The inputs of figures and tables, from frames and files that a test has."""

from pathlib import Path
from typing import Any

from detoxmerge.report.inputs import Inputs


def inputs(*, model: str = "small", **known: Any) -> Inputs:
    """Inputs of these files, which are lists of paths, and of what a test has instead of a file."""
    files = {name: value for name, value in known.items() if is_paths(value)}
    made = Inputs(files, model)
    # cached properties take it as already read
    vars(made).update({name: value for name, value in known.items() if name not in files})
    return made


def is_paths(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Path) for item in value)
