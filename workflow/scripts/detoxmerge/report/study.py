"""How an edit was made and measured, for its model card; from the config and manifests."""

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
    """How an edit was made and measured, as plain JSON values.

    Returns:
        `base`, `model`, `method`, `label`, `reference`, `about`, `setting`, `params`, `seed`,
        `sign`, `recipe`, `data`, `given`, `prompts`, `corpora`, `scorers`, `measured_dtype`.
    """
    config, method, stages = grid.config, METHODS[edit.method], grid.run.stages.values()
    recipe = recipe_of(edit.method, edit.params)
    # a merge is described by its operator
    described_by = operator_of(edit.method, edit.params) or method
    return {
        "base": _base(grid, edit.model),
        "model": edit.model,
        "method": edit.method,
        "label": method.LABEL,
        "reference": described_by.REFERENCE,
        "about": inspect.cleandoc(described_by.__doc__ or ""),
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
    """Aliases of one kind that the stages name, each once."""
    return list(dict.fromkeys(alias for stage in stages for alias in getattr(stage, kind)))


def _given(grid: Grid, edit: Edit) -> Iterator[dict[str, Any]]:
    """Each fine-tune made elsewhere, in words, and the checksums of its files."""
    for path in grid.inputs_of(edit):
        if not grid.paths.wildcards(grid.paths.given_finetune, path):
            continue
        fine_tune = read_json(path)
        place = dict(fine_tune["place"])
        checksums = place.pop("sha256")
        yield {"words": f"{fine_tune['kind']} {words_of(**place)}", "sha256": checksums}


def _base(grid: Grid, alias: str) -> dict[str, Any]:
    entry: Model = grid.config.models[alias]
    if entry.pretrain:
        training = entry.pretrain
        texts = "; ".join(text.words() for text in training.texts)
        shape = f"{training.layers} layers of width {training.width}, {training.steps} steps, "
        shape += f"seed {training.seed}"
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
