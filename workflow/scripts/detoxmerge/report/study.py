"""What a model card tells of an edit's making and measuring, from the config and its manifests."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from ..plan.catalogue import Model, Scorer
from ..plan.config import Stage
from ..plan.edits import Edit
from ..plan.entries import Source, protocol
from ..plan.grid import Grid
from ..plan.registry import METHODS, operator_of, recipe_of
from ..storage.artefacts import read_json


def study_of(grid: Grid, edit: Edit) -> dict[str, Any]:
    """What a card tells of an edit's making and measuring, as plain JSON values.

    Args:
        grid: the study; the manifests of base and data set are read.
        edit: one of its edits.

    Returns:
        `base`, `model`, `method`, `label`, `reference`, `about`, `setting`, `params`, `seed`,
        `sign`, `recipe`, `data`, `given`, `prompts`, `corpora`, `scorers`, `measured_dtype`.
    """
    config, method, stages = grid.config, METHODS[edit.method], grid.run.stages.values()
    recipe = recipe_of(edit.method, edit.params)
    told_by = operator_of(edit.method, edit.params) or method
    return {
        "base": _base(grid, edit.model),
        "model": edit.model,
        "method": edit.method,
        "label": method.LABEL,
        "reference": told_by.REFERENCE,
        "about": inspect.cleandoc(told_by.__doc__),
        "setting": edit.setting,
        "params": protocol(edit.params),
        "seed": edit.seed,
        "sign": read_json(grid.paths.edit.format(**vars(edit)))["sign"],
        "recipe": protocol(config.recipes[recipe]) if recipe else None,
        "data": _data(grid, edit.dataset) if edit.dataset != "-" else None,
        "given": list(_given(grid, edit)),
        "prompts": {
            alias: {"source": source(config.prompts[alias])}
            | protocol(config.prompts[alias].generate)
            for alias in _names(stages, "prompts")
        },
        "corpora": {alias: source(config.corpora[alias]) for alias in _names(stages, "corpora")},
        "scorers": {alias: _scorer(config.scorers[alias]) for alias in _names(stages, "scorers")},
        "measured_dtype": config.models[edit.model].dtype,
    }


def _names(stages: Iterable[Stage], kind: str) -> list[str]:
    """Aliases that the stages name, each once."""
    return list(dict.fromkeys(alias for stage in stages for alias in getattr(stage, kind)))


def source(entry: Source) -> str:
    """Where texts come from, in words; of local files the names without their folders.

    Args:
        entry: of the catalogue.

    Returns:
        Part of a sentence, Markdown.
    """
    if entry.hub:
        subset = f" ({entry.subset})" if entry.subset else ""
        words = f"`{entry.hub}`{subset}, {', '.join(entry.splits or [])}, at `{entry.revision}`"
    elif entry.path:
        words = "local " + ", ".join(f"`{path.rsplit('/', 1)[-1]}`" for path in entry.path)
    else:
        made = entry.generated
        words = f"{made.rows} {made.kind} of the workflow's own generator, seed {made.seed}"
    if entry.where:
        words += ", where " + " and ".join(f"{k} is {v}" for k, v in entry.where.items())
    if entry.part:
        words += f", the {entry.part} part of them"
    if entry.sample:
        words += f", a sample of {entry.sample.rows} rows, seed {entry.sample.seed}"
    return words


def _given(grid: Grid, edit: Edit) -> Iterator[dict[str, Any]]:
    """Each fine-tune made elsewhere, in words, and the checksums of its files."""
    for path in grid.inputs_of(edit):
        if not grid.paths.wildcards(grid.paths.given_shard, path):
            continue
        made = read_json(path)
        place = dict(made["place"])
        sums = place.pop("sha256")
        yield {"words": f"{made['kind']} {_place(**place)}", "sha256": sums}


def _place(hub: str | None = None, revision: str | None = None, path: str | None = None) -> str:
    """Of local files the name without their folders."""
    if path:
        return f"`{path.rstrip('/').rsplit('/', 1)[-1]}`, a local copy"
    return f"`{hub}` at revision `{revision}`"


def _base(grid: Grid, alias: str) -> dict[str, Any]:
    entry: Model = grid.config.models[alias]
    if entry.pretrain:
        p, texts = entry.pretrain, "; ".join(map(source, entry.pretrain.texts))
        shape = f"{p.layers} layers of width {p.width}, {p.steps} steps, seed {p.seed}"
        words = f"a small model that the workflow trained itself ({shape}) on: {texts}"
    elif entry.path:
        words = f"the local folder `{entry.path.rstrip('/').rsplit('/', 1)[-1]}`"
    else:
        words = f"`{entry.hub}` at revision `{entry.revision}`"
    sums = read_json(grid.paths.base.format(model=alias))["model"]["sha256"]
    weights = {name: checksum for name, checksum in sums.items() if name.endswith("safetensors")}
    return {"hub": entry.hub, "words": words, "sha256": weights}


def _data(grid: Grid, alias: str) -> dict[str, Any]:
    entry = grid.config.datasets[alias]
    counts = read_json(grid.paths.dataset.format(dataset=alias))["counts"]
    return {
        "alias": alias,
        "hub": entry.hub,
        "source": source(entry),
        "score": entry.score,
        "toxic_above": entry.toxic_above,
        "num_toxic": counts["num_toxic"],
        "partition_seed": grid.config.split.seed,
    }


def _scorer(entry: Scorer) -> str:
    if entry.detoxify:
        words = f"Detoxify `{entry.detoxify}`"
    elif entry.checkpoint:
        words = f"the checkpoint `{entry.checkpoint.file.rsplit('/', 1)[-1]}`"
    else:
        words = "a small BERT trained by the workflow on: "
        words += "; ".join(map(source, entry.train.texts))
    return f"{words}; label `{entry.label}`"
