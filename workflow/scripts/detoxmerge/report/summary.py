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
from ..measure.payloads import MEASURED
from ..plan.config import Stage
from ..plan.expected import expected_protocols
from ..plan.grid import Grid
from ..plan.registry import METHODS, merged_shards
from ..storage.artefacts import publish, read_json, write_text
from ..storage.records import chosen_scales, read_payload, read_record
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
NOT_A_METRIC = {"key", "scale", "payload", "sha256"}
OWN_BASE = "own base"  # stands where a scorer or judge does; no alias has a blank


def summarise(grid: Grid, out: Path, config_out: Path) -> None:
    """Gather every measurement, after checking that each was made as the config says.

    Args:
        grid: the study.
        out: parquet with `COLUMNS`; base models have method `base` and scale 0, missing numbers
            are null. A scale of the final stage stands there once per selector that chose it.
        config_out: the config with all its defaults, YAML.

    Raises:
        UserError: a measurement is missing, incomplete, or of another protocol.
    """
    provenance = Provenance(expected_protocols(grid))
    for path in grid.results:
        provenance.require(path)
    frame = pd.DataFrame(_rows(grid), columns=COLUMNS)
    frame["n"] = frame["n"].astype("Int64")
    with publish(out) as part:
        frame.to_parquet(part, index=False)
    write_text(config_out, yaml.safe_dump(grid.config.model_dump(), sort_keys=False))
    print(f"{len(frame)} numbers of {len(grid.edits)} edits and {len(grid.run.models)} base models")


def _rows(grid: Grid) -> Iterator[dict[str, Any]]:
    bootstrap = Bootstrap(grid.config.statistics)
    for model in grid.run.models:
        at: dict[str, Any] = {"model": model, "dataset": None, "method": "base"}
        at |= {"label": "base model", "setting": None, "n": None, "seed": None}
        yield from measured_rows(grid, bootstrap, at, model, "base")
    for edit in grid.edits:
        at = {"model": edit.model, "dataset": edit.dataset, "method": edit.method}
        at |= {"label": METHODS[edit.method].LABEL, "setting": edit.setting, "seed": edit.seed}
        at |= {"n": merged_shards(edit.method, edit.params)}
        yield from _chosen(grid, at, edit.model, edit.edit)
        yield from measured_rows(grid, bootstrap, at, edit.model, edit.edit)
        if METHODS[edit.method].VERB == "delta":
            yield from _change(grid, at, edit.model, edit.edit)
        yield from _cost(grid, at, edit.model, edit.edit)


def _chosen(grid: Grid, at: dict[str, Any], model: str, edit: str) -> Iterator[dict[str, Any]]:
    """A row per chosen scale; a row without a value for a rule that nothing satisfies."""
    for selector, path in zip(grid.run.selectors, grid.choices(model, edit), strict=True):
        for scale in read_json(path)["scales"] or [None]:
            found = {"stage": "selection", "selector": selector, "metric": "selected_scale"}
            value = None if scale is None else float(scale)
            yield at | found | {"scale": value, "value": value}


def measured_rows(
    grid: Grid, bootstrap: Bootstrap, at: dict[str, Any], model: str, edit: str
) -> Iterator[dict[str, Any]]:
    """Toxicity, fluency and perplexity of one edit in both stages.

    Args:
        grid: the study.
        bootstrap: makes the intervals.
        at: columns of the summary that name the edit.
        model: its model.
        edit: the `{edit}` wildcard.

    Yields:
        Rows of the summary; of the final stage one per selector that chose the scale.

    Raises:
        UserError: a record or its table is missing or was changed.
    """
    choices = grid.choices(model, edit)
    for stage, sets in grid.run.stages.items():
        bases = _measurements(grid, model, "base", sets)
        for ours, theirs in zip(_measurements(grid, model, edit, sets), bases, strict=True):
            given = grid.scales_of_stage(edit, ours.measured_on)
            scales = chosen_scales(given, choices)
            chosen_by: dict[str, list[str]] = {}
            if given is None:
                _require_scales(ours.manifest, scales)
                chosen_by = _chosen_by(grid, choices)
            base = {} if edit == "base" else _drawn(bootstrap, theirs, "0")
            for scale in scales:
                found = _numbers(bootstrap, ours, scale, base)
                where = {"stage": stage, "scale": float(scale)}
                where |= {"measured_on": ours.measured_on, "scorer": ours.scorer}
                for selector, number in product(chosen_by.get(scale, [None]), found):
                    yield at | where | {"selector": selector} | number


class Measurement(NamedTuple):
    """A manifest whose numbers stand in the summary.

    Attributes:
        of: a key of `measure.payloads.MEASURED`.
        scorer: or judge.
        settings: of the scorer: its thresholds.
    """

    of: str
    manifest: Path
    measured_on: str
    scorer: str | None
    settings: dict[str, Any]


def _measurements(grid: Grid, model: str, edit: str, stage: Stage) -> list[Measurement]:
    p, at, found = grid.paths, {"model": model, "edit": edit}, []
    for prompts, scorer in product(stage.prompts, stage.scorers):
        path = p.toxicity.format(prompts=prompts, scorer=scorer, **at)
        settings = grid.config.scorers[scorer].model_dump(include={"thresholds", "any_above"})
        found.append(Measurement("toxicity", Path(path), prompts, scorer, settings))
    for prompts in stage.prompts:
        path, judge = p.fluency.format(prompts=prompts, **at), grid.run.fluency_judge or OWN_BASE
        found.append(Measurement("fluency", Path(path), prompts, judge, {}))
    for corpus in stage.corpora:
        path = p.perplexity.format(corpus=corpus, **at)
        found.append(Measurement("perplexity", Path(path), corpus, None, {}))
    return found


def _chosen_by(grid: Grid, choices: list[str]) -> dict[str, list[str]]:
    """Scale -> the selectors that chose it."""
    found: dict[str, list[str]] = {}
    for selector, path in zip(grid.run.selectors, choices, strict=True):
        for scale in read_json(path)["scales"]:
            found.setdefault(scale, []).append(selector)
    return found


def _require_scales(manifest: Path, scales: list[str]) -> None:
    if (held := read_json(manifest)["scales"]) != scales:
        raise UserError(
            f"{manifest} holds scales {', '.join(held) or 'none'}, and the selectors chose "
            f"{', '.join(scales) or 'none'}; delete it and run again"
        )


def _drawn(bootstrap: Bootstrap, measurement: Measurement, scale: str) -> dict[str, Drawn]:
    """Every metric of a measurement at a scale."""
    measured = MEASURED[measurement.of](read_payload(measurement.manifest, scale))
    metrics = metrics_of(measurement.of, measurement.settings)
    return {metric.name: bootstrap.draw(metric, measured) for metric in metrics}


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
    counts = {k: v for k, v in record.items() if k not in NOT_A_METRIC and k not in ours}
    return rows + [{"metric": name, "value": value} for name, value in counts.items()]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


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
        yield at | {"stage": "vector", "scale": 1.0, "metric": metric, "value": float(value)}


def _cost(grid: Grid, at: dict[str, Any], model: str, edit: str) -> Iterator[dict[str, Any]]:
    found = read_json(grid.paths.cost.format(model=model, edit=edit))
    where = {"stage": "cost", "scale": float(found["scale"])}
    for metric in COSTS:
        yield at | where | {"metric": metric, "value": found[metric]}
