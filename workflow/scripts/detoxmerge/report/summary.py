"""All measurements of a study in one table, one number per row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..artefacts import publish, read_json, sha256, write_text
from ..measure.scales import record_path
from ..plan.errors import UserError
from ..plan.grid import Grid
from ..plan.methods import METHODS
from .provenance import Provenance

# what identifies a number; the rest of a row is `metric` and `value`
COLUMNS = [
    "model", "dataset", "method", "label", "setting", "n", "seed", "scale",
    "measured_on", "scorer", "metric", "value",
]  # fmt: skip
NOT_A_METRIC = {"key", "scale", "payload", "sha256"}


def summarise(grid: Grid, out: Path, config_out: Path) -> None:
    """Gather every measurement, after checking that each was made as the config says.

    Args:
        grid: the study.
        out: parquet with `COLUMNS`; base models have method `base` and scale 0, missing numbers
            are null.
        config_out: the config with all its defaults, YAML.

    Raises:
        UserError: a measurement is missing, incomplete, or of another protocol.
    """
    provenance = Provenance(grid.expected)
    for path in grid.results:
        provenance.require(path)
    frame = pd.DataFrame(_rows(grid), columns=COLUMNS)
    frame["n"] = frame["n"].astype("Int64")
    with publish(out) as part:
        frame.to_parquet(part, index=False)
    write_text(config_out, yaml.safe_dump(grid.config.model_dump(), sort_keys=False))
    print(f"{len(frame)} numbers of {len(grid.edits)} edits and {len(grid.run.models)} base models")


def _rows(grid: Grid) -> Iterator[dict[str, Any]]:
    for model in grid.run.models:
        at = {"model": model, "dataset": None, "method": "base", "label": "base model"}
        at |= {"setting": None, "n": None, "seed": None}
        yield from _measured(grid, at, model, "base")
    for edit in grid.edits:
        at = {"model": edit.model, "dataset": edit.dataset, "method": edit.method}
        at |= {"label": METHODS[edit.method].LABEL, "setting": edit.setting, "seed": edit.seed}
        at |= {"n": getattr(edit.params, "n", None)}
        yield from _measured(grid, at, edit.model, edit.edit)
        yield from _change(grid, at, edit.model, edit.edit)


def _measured(grid: Grid, at: dict[str, Any], model: str, edit: str) -> Iterator[dict[str, Any]]:
    sweep, paths = grid.run.sweep, grid.paths
    sets: list[tuple[str, str | None, str]] = []
    for prompts in sweep.prompts:
        for scorer in sweep.scorers:
            path = paths.toxicity.format(model=model, edit=edit, prompts=prompts, scorer=scorer)
            sets.append((prompts, scorer, path))
    for corpus in sweep.corpora:
        sets.append((corpus, None, paths.perplexity.format(model=model, edit=edit, corpus=corpus)))
    for measured_on, scorer, path in sets:
        for scale in grid.scales_of(edit):
            for metric, value in _record(Path(path), scale).items():
                if metric in NOT_A_METRIC:
                    continue
                yield at | {
                    "scale": float(scale),
                    "measured_on": measured_on,
                    "scorer": scorer,
                    "metric": metric,
                    "value": value,
                }


def _record(manifest: Path, scale: str) -> dict[str, Any]:
    """The record of one scale, the very one that the manifest certifies."""
    record = record_path(manifest, scale)
    listed = read_json(manifest)["files"]
    if record.name not in listed:
        raise UserError(f"{manifest} does not hold scale {scale}; delete it and run again")
    if not record.is_file() or sha256(record) != listed[record.name]:
        raise UserError(f"{record} is missing or was changed; delete {manifest} and run again")
    return read_json(record)


def _change(grid: Grid, at: dict[str, Any], model: str, edit: str) -> Iterator[dict[str, Any]]:
    found = read_json(grid.paths.change.format(model=model, edit=edit))
    numbers = {
        "delta_l1_norm": found["l1_norm"],
        "delta_l2_norm": found["l2_norm"],
        "delta_max_abs": found["max_abs"],
        "num_elements": found["num_elements"],
        "num_structural_zeros": found["num_structural_zeros"],
        "num_exact_zeros": found["num_exact_zeros"],
    }
    numbers |= {
        f"almost_unchanged_share_{key}": value
        for key, value in found["almost_unchanged_share"].items()
    }
    for metric, value in numbers.items():
        yield at | {"scale": 1.0, "metric": metric, "value": float(value)}
