"""The inputs of figures and tables, from frames and files that a test has."""

from pathlib import Path
from typing import Any

from detoxmerge.report.inputs import Inputs


def inputs(*, model: str = "small", **known: Any) -> Inputs:
    """Inputs of these files (lists of paths), and of properties that are known without one."""
    files = {k: v for k, v in known.items() if isinstance(v, list) and all_paths(v)}
    made = Inputs(files, model)
    vars(made).update({k: v for k, v in known.items() if k not in files})  # as if read already
    return made


def all_paths(values: list[Any]) -> bool:
    return all(isinstance(value, Path) for value in values)
