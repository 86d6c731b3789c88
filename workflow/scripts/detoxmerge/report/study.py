"""What a model card tells of an edit's making and measuring, from the config and its manifests."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from ..plan.catalogue import Model
from ..plan.config import Stage
from ..plan.edits import Edit
from ..plan.entries import protocol
from ..plan.grid import Grid
from ..plan.origin import words_of
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
        "about": inspect.cleandoc(told_by.__doc__ or ""),
        "setting": edit.setting,
        "params": protocol(edit.params),
        "seed": edit.seed,
        "sign": read_json(grid.paths.edit.format(**vars(edit)))["sign"],
        "recipe": protocol(config.recipes[recipe]) if recipe else None,
        "data": _data(grid, edit.dataset) if edit.dataset != "-" else None,
        "given": list(_given(grid, edit)),
        "prompts": {
            alias: {"source": config.prompts[alias].words()}
            | protocol(config.prompts[alias].generate)
            for alias in _names(stages, "prompts")
        },
        "corpora": {alias: config.corpora[alias].words() for alias in _names(stages, "corpora")},
        "scorers": {alias: config.scorers[alias].words() for alias in _names(stages, "scorers")},
        "measured_dtype": config.models[edit.model].dtype,
    }


def _names(stages: Iterable[Stage], kind: str) -> list[str]:
    """Aliases that the stages name, each once."""
    return list(dict.fromkeys(alias for stage in stages for alias in getattr(stage, kind)))


def _given(grid: Grid, edit: Edit) -> Iterator[dict[str, Any]]:
    """Each fine-tune made elsewhere, in words, and the checksums of its files."""
    for path in grid.inputs_of(edit):
        if not grid.paths.wildcards(grid.paths.given_finetune, path):
            continue
        made = read_json(path)
        place = dict(made["place"])
        sums = place.pop("sha256")
        yield {"words": f"{made['kind']} {words_of(**place)}", "sha256": sums}


def _base(grid: Grid, alias: str) -> dict[str, Any]:
    entry: Model = grid.config.models[alias]
    if entry.pretrain:
        p, texts = entry.pretrain, "; ".join(text.words() for text in entry.pretrain.texts)
        shape = f"{p.layers} layers of width {p.width}, {p.steps} steps, seed {p.seed}"
        words = f"a small model that the workflow trained itself ({shape}) on: {texts}"
    else:
        words = entry.words()
    sums = read_json(grid.paths.base.format(model=alias))["model"]["sha256"]
    weights = {name: checksum for name, checksum in sums.items() if name.endswith("safetensors")}
    return {"hub": entry.hub, "words": words, "sha256": weights}


def _data(grid: Grid, alias: str) -> dict[str, Any]:
    entry = grid.config.datasets[alias]
    counts = read_json(grid.paths.dataset.format(dataset=alias))["counts"]
    return {
        "alias": alias,
        "hub": entry.hub,
        "source": entry.words(),
        "score": entry.score,
        "toxic_above": entry.toxic_above,
        "num_toxic": counts["num_toxic"],
        "partition_seed": grid.config.split.seed,
    }
