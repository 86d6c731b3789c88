"""What lies beside the summaries: scores per continuation, NLL per window, as arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..artefacts import read_json, sha256
from ..measure.scales import record_path
from ..plan.errors import UserError
from ..plan.grid import Grid
from .comparison import Curve


def read_record(manifest: Path, scale: str) -> dict[str, Any]:
    """The record of one scale, the very one that the manifest certifies.

    Args:
        manifest: of a measurement.
        scale: as it stands in paths.

    Returns:
        The record.

    Raises:
        UserError: the manifest does not hold the scale, or the record is not the one it holds.
    """
    record = record_path(manifest, scale)
    listed = read_json(manifest)["files"]
    if record.name not in listed:
        raise UserError(f"{manifest} does not hold scale {scale}; delete it and run again")
    if not record.is_file() or sha256(record) != listed[record.name]:
        raise UserError(f"{record} is missing or was changed; delete {manifest} and run again")
    return read_json(record)


def read_payload(manifest: Path, scale: str) -> pd.DataFrame:
    """The table behind a record.

    Args:
        manifest: of a measurement whose payload is parquet.
        scale: as it stands in paths.

    Returns:
        The table.

    Raises:
        UserError: as `read_record`, or the table is not the one of the record.
    """
    found = read_record(manifest, scale)
    file = manifest.with_name(found["payload"])
    if not file.is_file() or sha256(file) != found["sha256"]:
        raise UserError(f"{file} is missing or was changed; delete {manifest} and run again")
    return pd.read_parquet(file)


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
