"""All measurements of a study in one table, one number per row."""

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from ..errors import UserError
from ..measure.metrics import metrics_of
from ..measure.payloads import PAYLOADS
from ..plan.config import Stage
from ..plan.expected import expected_protocols
from ..plan.grid import Grid
from ..plan.registry import METHODS, merged_shards
from ..storage.artefacts import read_json, write_text
from ..storage.records import chosen_scales, read_payload, read_record, scales_left_out
from ..storage.tables import write_table
from .intervals import Bootstrap, Drawn
from .provenance import Provenance

# what identifies a number; then the number, how far it is from the base model's, and the bootstrap
# intervals of both
COLUMNS = [
    "model", "dataset", "method", "label", "setting", "n", "seed", "stage", "selector", "scale",
    "measured_on", "scorer", "metric", "value", "low", "high",
    "difference", "difference_low", "difference_high",
]  # fmt: skip
COSTS = (
    "training_seconds",
    "extra_forward_passes_per_token",
    "extra_memory_mb",
    "tokens_per_second",
    "tokens_per_second_over_base",
)
LEFT_OUT = "left_out"  # a column only of a study with `run.sweep.within`: why there is no value
NOT_A_METRIC = {"key", "scale", "payload", "sha256"}  # of a record
OWN_BASE = "own base"  # in place of a judge's alias; no alias has a space


def summarise(grid: Grid, out: Path, config_out: Path) -> None:
    """Gather every measurement, after checking that each was made as the config says.

    Args:
        out: parquet with `COLUMNS` (and `LEFT_OUT`); base models have method `base` and scale 0,
            missing numbers are null. A scale of the final stage has a row for each selector that
            chose it.
        config_out: the config with all its defaults, YAML.

    Raises:
        UserError: a measurement is missing, incomplete, or of another protocol.
    """
    provenance = Provenance(expected_protocols(grid))
    for path in grid.results:
        provenance.require(path)
    columns = [*COLUMNS, LEFT_OUT] if grid.run.sweep.within else COLUMNS
    frame = pd.DataFrame(_rows(grid), columns=columns)
    frame["n"] = frame["n"].astype("Int64")
    write_table(frame, out)
    write_text(config_out, yaml.safe_dump(grid.config.model_dump(), sort_keys=False))
    print(f"{len(frame)} numbers of {len(grid.edits)} edits and {len(grid.run.models)} base models")


def _rows(grid: Grid) -> Iterator[dict[str, Any]]:
    bootstrap = Bootstrap(grid.config.statistics)
    for model in grid.run.models:
        columns: dict[str, Any]
        columns = {"model": model, "dataset": None, "method": "base", "label": "base model"}
        columns |= {"setting": None, "n": None, "seed": None}
        yield from measured_rows(grid, bootstrap, columns, model, "base")
    for edit in grid.edits:
        columns = {"model": edit.model, "dataset": edit.dataset, "method": edit.method}
        columns |= {"label": METHODS[edit.method].LABEL, "setting": edit.setting}
        columns |= {"n": merged_shards(edit.method, edit.params), "seed": edit.seed}
        yield from _chosen(grid, columns, edit.model, edit.edit)
        yield from measured_rows(grid, bootstrap, columns, edit.model, edit.edit)
        if METHODS[edit.method].VERB == "delta":
            yield from _change(grid, columns, edit.model, edit.edit)
        yield from _cost(grid, columns, edit.model, edit.edit)


def _chosen(grid: Grid, columns: dict[str, Any], model: str, edit: str) -> Iterator[dict[str, Any]]:
    """A row per chosen scale; a row without a value for a rule that nothing satisfies."""
    for selector, path in zip(grid.run.selectors, grid.choices(model, edit), strict=True):
        choice = {"stage": "selection", "selector": selector, "metric": "selected_scale"}
        for scale in read_json(path)["scales"] or [None]:
            value = None if scale is None else float(scale)
            yield columns | choice | {"scale": value, "value": value}


def measured_rows(
    grid: Grid, bootstrap: Bootstrap, columns: dict[str, Any], model: str, edit: str
) -> Iterator[dict[str, Any]]:
    """Toxicity, fluency and perplexity of one edit in both stages.

    Args:
        columns: of the summary, that name the edit.
        edit: the `{edit}` wildcard.

    Yields:
        Rows of the summary; in the final stage one for each selector that chose the scale. A scale
        that the sweep left out has rows without a value.

    Raises:
        UserError: a record or its table is missing or was changed.
    """
    choices = grid.choices(model, edit)
    for stage, sets in grid.run.stages.items():
        bases = _measurements(grid, model, "base", sets)
        for ours, theirs in zip(_measurements(grid, model, edit, sets), bases, strict=True):
            configured = grid.scales_of_stage(edit, ours.measured_on)
            scales = chosen_scales(configured, choices)
            chosen_by: dict[str, list[str]] = {}
            if configured is None:  # selectors decide, and may decide differently now
                _require_scales(ours.manifest, scales)
                chosen_by = _chosen_by(grid, choices)
            # the base has no difference from itself
            base = {} if edit == "base" else _drawn(bootstrap, theirs, "0")
            left_out = scales_left_out(ours.manifest)
            for scale in scales:
                if scale in left_out:
                    numbers = _no_numbers(ours, left_out[scale])
                else:
                    numbers = _numbers(bootstrap, ours, scale, base)
                measured = {"stage": stage, "scale": float(scale)}
                measured |= {"measured_on": ours.measured_on, "scorer": ours.scorer}
                for selector, number in product(chosen_by.get(scale, [None]), numbers):
                    yield columns | measured | {"selector": selector} | number


class Measurement(NamedTuple):
    """A manifest whose numbers the summary has.

    Attributes:
        kind: a key of `measure.payloads.PAYLOADS`.
        scorer: alias of the scorer or judge; None where there is neither.
        cutoffs: thresholds of the scorer.
    """

    kind: str
    manifest: Path
    measured_on: str
    scorer: str | None
    cutoffs: dict[str, list[float] | float]


def _measurements(grid: Grid, model: str, edit: str, stage: Stage) -> list[Measurement]:
    paths, wildcards, measurements = grid.paths, {"model": model, "edit": edit}, []
    for prompts, scorer in product(stage.prompts, stage.scorers):
        path = Path(paths.toxicity.format(prompts=prompts, scorer=scorer, **wildcards))
        cutoffs = grid.config.scorers[scorer].cutoffs
        measurements.append(Measurement("toxicity", path, prompts, scorer, cutoffs))
    judge = grid.run.fluency_judge or OWN_BASE
    for prompts in stage.prompts:
        path = Path(paths.fluency.format(prompts=prompts, **wildcards))
        measurements.append(Measurement("fluency", path, prompts, judge, {}))
    for corpus in stage.corpora:
        path = Path(paths.perplexity.format(corpus=corpus, **wildcards))
        measurements.append(Measurement("perplexity", path, corpus, None, {}))
    return measurements


def _chosen_by(grid: Grid, choices: list[str]) -> dict[str, list[str]]:
    """Scale -> the selectors that chose it."""
    selectors: dict[str, list[str]] = {}
    for selector, path in zip(grid.run.selectors, choices, strict=True):
        for scale in read_json(path)["scales"]:
            selectors.setdefault(scale, []).append(selector)
    return selectors


def _require_scales(manifest: Path, scales: list[str]) -> None:
    if (measured := read_json(manifest)["scales"]) != scales:
        raise UserError(
            f"{manifest} holds scales {', '.join(measured) or 'none'}, and the selectors chose "
            f"{', '.join(scales) or 'none'}; delete it and run again"
        )


def _drawn(bootstrap: Bootstrap, measurement: Measurement, scale: str) -> dict[str, Drawn]:
    """Every metric of a measurement at a scale."""
    payload = PAYLOADS[measurement.kind](read_payload(measurement.manifest, scale))
    metrics = metrics_of(measurement.kind, measurement.cutoffs)
    return {metric.name: bootstrap.draw(metric, payload) for metric in metrics}


def _numbers(
    bootstrap: Bootstrap, measurement: Measurement, scale: str, base: dict[str, Drawn]
) -> list[dict[str, Any]]:
    """Every metric with interval and difference from the base, then the counts of the record."""
    record, ours = read_record(measurement.manifest, scale), _drawn(bootstrap, measurement, scale)
    rows = []
    for metric, drawn in ours.items():
        interval = bootstrap.interval(drawn)
        row = {"metric": metric, "value": _number(drawn.value)}
        row |= {bound: _number(getattr(interval, bound)) for bound in ("low", "high")}
        if metric in base:
            interval = bootstrap.interval(drawn.minus(base[metric]))
            row |= {"difference": _number(interval.value)}
            row |= {f"difference_{k}": _number(getattr(interval, k)) for k in ("low", "high")}
        rows.append(row)
    # records may repeat a metric, which is computed here and not read
    counts = {
        name: count
        for name, count in record.items()
        if name not in NOT_A_METRIC and name not in ours
    }
    return rows + [{"metric": name, "value": value} for name, value in counts.items()]


def _no_numbers(measurement: Measurement, why: str) -> list[dict[str, Any]]:
    """Every metric of a scale that was left out."""
    metrics = metrics_of(measurement.kind, measurement.cutoffs)
    return [{"metric": metric.name, "value": None, LEFT_OUT: why} for metric in metrics]


def _number(value: float) -> float | None:
    """Missing as null, also where a perplexity is larger than any float."""
    return value if math.isfinite(value) else None


def _change(grid: Grid, columns: dict[str, Any], model: str, edit: str) -> Iterator[dict[str, Any]]:
    change = read_json(grid.paths.change.format(model=model, edit=edit))
    numbers = {
        "delta_l1_norm": change["l1_norm"],
        "delta_l2_norm": change["l2_norm"],
        "delta_max_abs": change["max_abs"],
        "num_elements": change["num_elements"],
        "num_structural_zeros": change["num_structural_zeros"],
        "num_exact_zeros": change["num_exact_zeros"],
    }
    numbers |= {
        f"almost_unchanged_share_{key}": value
        for key, value in change["almost_unchanged_share"].items()
    }
    for metric, value in numbers.items():
        yield columns | {"stage": "vector", "scale": 1.0, "metric": metric, "value": float(value)}


def _cost(grid: Grid, columns: dict[str, Any], model: str, edit: str) -> Iterator[dict[str, Any]]:
    cost = read_json(grid.paths.cost.format(model=model, edit=edit))
    measured = {"stage": "cost", "scale": float(cost["scale"])}
    for metric in COSTS:
        yield columns | measured | {"metric": metric, "value": cost[metric]}
