"""The lines of figures that compare edits: one per method, variant and N."""

from collections import Counter
from typing import Any

import pandas as pd

from .names import operator_of
from .styles import DASHES, line_style


def name_of_dataset(dataset: str) -> str:
    """As titles have it; edits without a data set have the segment `-`."""
    return "no data set" if dataset == "-" else dataset


def edit_lines(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """(label, rows, style) per method, variant (those of the fewest parameters first) and N.

    A label names only what distinguishes a line from the others.
    """
    lines = []
    groups = list(part.groupby(["method", "variant", "n"], dropna=False, sort=True))
    groups.sort(key=lambda group: (group[0][0], len(group[0][1].split("--"))))
    variants = list(dict.fromkeys((method, variant) for (method, variant, _), _ in groups))
    several_methods = len({method for method, _ in variants}) > 1

    # lines of one colour, which the operator decides, differ in their dashes
    seen: Counter[str] = Counter()
    dashes = {}
    for method, variant in variants:
        colour = f"{method} {operator_of(variant)}"
        dashes[method, variant] = DASHES[seen[colour] % len(DASHES)]
        seen[colour] += 1

    for (method, variant, n), rows in groups:
        others = [other for name, other in variants if name == method and other != variant]
        words = _distinguishing(variant, others)
        if several_methods or (pd.isna(n) and not words):  # a label must not be empty
            words = [method, *words]
        name = " ".join(words).replace("operator=", "")
        label = ", ".join(filter(None, [name, "" if pd.isna(n) else f"N = {n:g}"]))
        style = line_style(method, n, operator_of(variant)) | {"linestyle": dashes[method, variant]}
        lines.append((label, rows, style))
    return lines


def _distinguishing(variant: str, others: list[str]) -> list[str]:
    """The least number of words of a variant, from the first on, that no other one has all of."""
    shared = [set(other.split("--")) for other in others]
    words = [word for word in variant.split("--") if not all(word in other for other in shared)]
    for count in range(1, len(words)):
        if not any(set(words[:count]) <= other for other in shared):
            return words[:count]
    return words if others else []
