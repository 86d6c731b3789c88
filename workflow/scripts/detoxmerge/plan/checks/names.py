"""Config errors that span entries: unknown aliases and exports, repetitions.

What the raw config shows is checked there, so that a typo in one entry does not hide what is wrong
elsewhere.
"""

from collections.abc import Iterator
from typing import Any

from ...errors import UserError, nearest
from ..config import Config, Run, Stage
from ..entries import as_dict
from ..exports import find_export
from ..grid import Grid
from ..paths import Paths
from ..registry import METHODS
from ..slug import slug


def unknown_aliases(raw: dict[str, Any]) -> list[str]:
    """A sentence for each name in `run` that the catalogue lacks, and each method without a file.

    Args:
        raw: the config, not parsed yet; what has the wrong form is skipped.
    """
    run = as_dict(raw.get("run"))
    errors = []
    # what has the wrong form is skipped: pydantic reports it
    for place, kind, names in _named(run):
        known = raw.get(kind, {} if kind == "selectors" else None)
        if not isinstance(names, list) or not isinstance(known, dict):
            continue
        errors += [
            f"{place}.{kind}.{i}: '{name}' is not among {kind}; {nearest(name, known)}"
            for i, name in enumerate(names)
            if isinstance(name, str) and name not in known
        ]
    # single names, outside of the lists
    judge, models = run.get("fluency_judge"), raw.get("models")
    if isinstance(judge, str) and isinstance(models, dict) and judge not in models:
        errors.append(f"run.fluency_judge: '{judge}' is not among models; {nearest(judge, models)}")
    scales, selected = run.get("method_scales"), run.get("methods")
    errors += [
        f"run.method_scales.{name}: no such method in run.methods; {nearest(name, selected)}"
        for name in (scales if isinstance(scales, dict) else {})
        if isinstance(selected, list) and name not in selected
    ]
    # the catalogue of methods names files, whether `run` uses them or not
    methods = raw.get("methods")
    return errors + [
        f"methods.{name}: no file edit/methods/{name}.py; {nearest(name, METHODS)}"
        for name in (methods if isinstance(methods, dict) else {})
        if name not in METHODS
    ]


def _named(run: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(place, kind of the catalogue, names) of every list of names in `run`."""
    for kind in ("models", "datasets", "methods", "selectors"):
        yield "run", kind, run.get(kind)
    for stage in ("sweep", "final"):
        sets = run.get(stage)
        for kind in ("prompts", "corpora", "scorers"):
            yield f"run.{stage}", kind, sets.get(kind) if isinstance(sets, dict) else None


def repetitions(config: Config) -> list[str]:
    """A sentence for each list of `run` with a repeated value, or a name of two things."""
    run, errors = config.run, []
    lists: dict[str, list[Any]] = {
        "models": run.models,
        "datasets": run.datasets,
        "methods": run.methods,
        "seeds": run.seeds,
        "scales": run.scales,
        **{f"method_scales.{name}": scales for name, scales in run.method_scales.items()},
        "selectors": run.selectors,
        "exports": run.exports,
    }
    for name, stage in run.stages.items():
        lists |= {f"{name}.{kind}": getattr(stage, kind) for kind in Stage.model_fields}
    for key, values in lists.items():
        texts = [v if isinstance(v, str) else slug(v) for v in values]  # as in paths
        repeated = sorted({text for text in texts if texts.count(text) > 1})
        if repeated:
            errors.append(f"run.{key}: {', '.join(repeated)} is listed twice; leave one out")
    for name, stage in run.stages.items():
        both = sorted(set(stage.prompts) & {c for s in run.stages.values() for c in s.corpora})
        if both:  # they would share a folder below an edit's measurements
            errors.append(f"run.{name}: '{both[0]}' names a prompt set and a corpus; rename one")
        for alias in {*stage.prompts, *stage.corpora} & _beside_sets(run):
            errors.append(
                f"run.{name}: '{alias}' is also the name of a file of each edit; rename the set"
            )
    return errors


def _beside_sets(run: Run) -> set[str]:
    """Names of the files that lie beside the folders of prompt sets and corpora."""
    p = Paths()
    patterns = [p.change, p.change.replace(".json", ".parquet"), p.cost]
    patterns += [p.selected.replace("{selector}", selector) for selector in run.selectors]
    return {pattern.rpartition("/")[2] for pattern in patterns}


def unknown_exports(grid: Grid) -> list[str]:
    """A sentence for each name in `run.exports` that is not an edit at one of its scales."""
    errors = []
    for i, name in enumerate(grid.run.exports):
        try:
            find_export(grid, name)
        except UserError as error:
            errors.append(f"run.exports.{i}: {error}")
    return errors
