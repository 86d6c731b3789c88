"""The lines of figures that compare edits: one per method, variant and N."""

from collections import Counter
from typing import Any

import pandas as pd

from .names import operator_of
from .styles import DASHES, line_style


def name_of_dataset(dataset: str) -> str:
    """As it stands in titles; edits without a data set have the segment `-`."""
    return "no data set" if dataset == "-" else dataset


def edit_lines(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """(label, rows, style) per method, other parameters (the fewest first) and N."""
    found = []
    groups = list(part.groupby(["method", "variant", "n"], dropna=False, sort=True))
    groups.sort(key=lambda group: (group[0][0], len(group[0][1].split("--"))))
    kinds = list(dict.fromkeys((method, how) for (method, how, _), _ in groups))
    seen: Counter[str] = Counter()  # lines of one colour differ in their dashes
    dashes = {}
    for method, how in kinds:
        colour = f"{method} {operator_of(how)}"
        dashes[method, how] = DASHES[seen[colour] % len(DASHES)]
        seen[colour] += 1
    for (method, how, n), rows in groups:
        told = _telling(how, [other for name, other in kinds if name == method and other != how])
        told = [method, *told] if len({method for method, _ in kinds}) > 1 else told
        told = told or ([method] if pd.isna(n) else [])
        name = " ".join(told).replace("operator=", "")
        label = ", ".join(filter(None, [name, "" if pd.isna(n) else f"N = {n:g}"]))
        style = line_style(method, n, operator_of(how)) | {"linestyle": dashes[method, how]}
        found.append((label, rows, style))
    return found


def _telling(variant: str, others: list[str]) -> list[str]:
    """As many words of a variant, from the first on, as tell it from others of its method."""
    shared = [set(other.split("--")) for other in others]
    words = [w for w in variant.split("--") if not all(w in of_other for of_other in shared)]
    for count in range(1, len(words)):
        if not any(set(words[:count]) <= of_other for of_other in shared):
            return words[:count]
    return words if others else []
