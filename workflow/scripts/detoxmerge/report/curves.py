"""An edit over its scales, from what was measured of it."""

from pathlib import Path

import numpy as np

from ..measure.payloads import Scores, Windows
from ..plan.grid import Grid
from ..storage.records import read_payload
from .comparison import Curve


def curve_of(grid: Grid, model: str, edit: str, read: dict[str, str]) -> Curve:
    """An edit over the sweep's scales, after the base model.

    Args:
        grid: the study.
        model: alias.
        edit: the wildcard, not ``base``.
        read: `prompts`, `scorer`, `corpus`.

    Returns:
        The curve.

    Raises:
        UserError: a measurement is incomplete or was changed.
    """
    judged = {key: read[key] for key in ("prompts", "scorer")}
    points = [("base", "0"), *((edit, scale) for scale in grid.scales_of_edit(edit))]
    scores, windows = [], []
    for of, scale in points:
        at = {"model": model, "edit": of}
        toxicity = Path(grid.paths.toxicity.format(**at, **judged))
        perplexity = Path(grid.paths.perplexity.format(**at, corpus=read["corpus"]))
        scores.append(Scores(read_payload(toxicity, scale)))
        windows.append(Windows(read_payload(perplexity, scale)))
    return Curve(np.array([float(scale) for _, scale in points]), scores, windows)
