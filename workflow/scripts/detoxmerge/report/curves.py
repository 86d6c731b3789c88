"""Read what was measured of an edit as a curve over its scales."""

from pathlib import Path

import numpy as np

from ..measure.payloads import Scores, Windows
from ..plan.grid import Grid
from ..storage.records import read_payload, scales_left_out
from .comparison import Curve


def curve_of(grid: Grid, model: str, edit: str, read: dict[str, str]) -> Curve:
    """An edit over the sweep's scales that have a toxicity, after the base model.

    Args:
        edit: the wildcard, not ``base``.
        read: `prompts`, `scorer` and `corpus`, the aliases that it was measured with.

    Raises:
        UserError: a measurement is incomplete or was changed.
    """
    left_out = scales_left_out(Path(grid.paths.toxicity.format(model=model, edit=edit, **read)))
    scales = [scale for scale in grid.scales_of_edit(edit) if scale not in left_out]
    points = [("base", "0"), *((edit, scale) for scale in scales)]
    scores, windows = [], []
    for wildcard, scale in points:
        wildcards = {"model": model, "edit": wildcard} | read
        toxicity = Path(grid.paths.toxicity.format(**wildcards))
        perplexity = Path(grid.paths.perplexity.format(**wildcards))
        scores.append(Scores(read_payload(toxicity, scale)))
        windows.append(Windows(read_payload(perplexity, scale)))
    return Curve(np.array([float(scale) for _, scale in points]), scores, windows)
