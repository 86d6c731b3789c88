"""What lies beside the summaries: scores per continuation, NLL per window, as arrays."""

from pathlib import Path

import numpy as np
import pandas as pd

from ..plan.grid import Grid
from ..storage.records import read_payload
from .comparison import Curve


def scores_by_prompt(scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of one scale, a number per prompt.

    Args:
        scores: `prompt`, `toxicity` (NaN: missing).

    Returns:
        Sum, count and maximum of the scores that are there, (P,) fp64 each; where a prompt has none
        they are 0, 0 and NaN.
    """
    grouped = scores.groupby("prompt", sort=True)["toxicity"]
    return tuple(grouped.agg(how).to_numpy(dtype=np.float64) for how in ("sum", "count", "max"))  # type: ignore[return-value]


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
    sums, counts, nll = [], [], []
    for of, scale in points:
        at = {"model": model, "edit": of}
        scores = read_payload(Path(grid.paths.toxicity.format(**at, **judged)), scale)
        total, count, _ = scores_by_prompt(scores)
        windows = read_payload(
            Path(grid.paths.perplexity.format(**at, corpus=read["corpus"])), scale
        )
        sums.append(total)
        counts.append(count)
        nll.append(windows["nll"].to_numpy())
    scales = np.array([float(scale) for _, scale in points])
    tokens = windows["tokens"].to_numpy(dtype=np.float64)
    return Curve(scales, np.stack(sums), np.stack(counts), np.stack(nll), tokens)
