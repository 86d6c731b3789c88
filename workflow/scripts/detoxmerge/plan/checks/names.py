"""Config errors that span entries: unknown aliases, a method's parameters, repetitions.

What can be seen in the raw config is looked for there, so that a typo in one entry does not hide
what is wrong elsewhere.
"""

from collections.abc import Iterator
from typing import Any

from ...errors import UserError, nearest
from ..config import Config
from ..exports import find_export
from ..grid import Grid
from ..registry import METHODS
from ..slug import slug


def unknown_aliases(raw: dict[str, Any]) -> list[str]:
    """Names in `run` that the catalogue does not have, and methods without a file.

    It reads the config before it is parsed, so that a typo elsewhere does not hide these.

    Args:
        raw: the config; what is not of the right form is passed over.

    Returns:
        One sentence per name.
    """
    run = raw.get("run") if isinstance(raw.get("run"), dict) else {}
    errors = []
    for place, kind, names in _named(run):
        known = raw.get(kind, {} if kind == "selectors" else None)
        if not isinstance(names, list) or not isinstance(known, dict):
            continue
        errors += [
            f"{place}.{kind}.{i}: '{name}' is not among {kind}; {nearest(name, known)}"
            for i, name in enumerate(names)
            if isinstance(name, str) and name not in known
        ]
    judge, models = run.get("fluency_judge"), raw.get("models")
    if isinstance(judge, str) and isinstance(models, dict) and judge not in models:
        errors.append(f"run.fluency_judge: '{judge}' is not among models; {nearest(judge, models)}")
    own, named = run.get("method_scales"), run.get("methods")
    errors += [
        f"run.method_scales.{name}: no such method in run.methods; {nearest(name, named)}"
        for name in (own if isinstance(own, dict) else {})
        if isinstance(named, list) and name not in named
    ]
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
        found = run.get(stage)
        for kind in ("prompts", "corpora", "scorers"):
            yield f"run.{stage}", kind, found.get(kind) if isinstance(found, dict) else None


def repetitions(config: Config) -> list[str]:
    """Values that stand twice in a list of `run`, or name two things.

    Args:
        config: the parsed config.

    Returns:
        One sentence per list.
    """
    run, errors = config.run, []
    lists = {
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
        lists |= {f"{name}.{kind}": names for kind, names in stage.model_dump().items()}
    for key, values in lists.items():
        said = [str(v) if isinstance(v, str) else slug(v) for v in values]  # as in paths
        twice = sorted({v for v in said if said.count(v) > 1})
        if twice:
            errors.append(f"run.{key}: {', '.join(twice)} stands there twice; leave one out")
    for name, stage in run.stages.items():
        both = sorted(set(stage.prompts) & {c for s in run.stages.values() for c in s.corpora})
        if both:  # they share the folder of an edit's measurements
            errors.append(f"run.{name}: '{both[0]}' names a prompt set and a corpus; rename one")
    return errors


def unknown_exports(grid: Grid) -> list[str]:
    """One sentence per name in `run.exports` that is no edit of the study at a scale of it.

    Args:
        grid: the study.

    Returns:
        Empty, if all are known.
    """
    errors = []
    for i, name in enumerate(grid.run.exports):
        try:
            find_export(grid, name)
        except UserError as error:
            errors.append(f"run.exports.{i}: {error}")
    return errors
