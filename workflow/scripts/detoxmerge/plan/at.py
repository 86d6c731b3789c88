"""The place of an edit in the study, and the paths of what its method may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .edits import Edit
from .paths import Paths
from .registry import METHODS, params_of
from .slug import setting_slug


@dataclass(frozen=True)
class At:
    """What a method's `inputs()` asks for paths of manifests.

    Attributes:
        model: alias.
        dataset: alias; `-` for a method that uses none.
        seed: of the training; `-` for a method that uses none.
        edits: other edits that were asked for; the grid builds them too.
    """

    paths: Paths
    model: str
    dataset: str
    seed: str
    edits: list[Edit] = field(default_factory=list)

    def base(self, model: str | None = None) -> str:
        """Manifest of the base model, or of another one of the catalogue."""
        return self.paths.base.format(model=model or self.model)

    def data(self) -> str:
        """Manifest of the data set; `toxic.parquet` and `nontoxic.parquet` lie beside it."""
        return self.paths.dataset.format(dataset=self.dataset)

    def shard(self, recipe: str, n: int, shard: int, model: str | None = None) -> str:
        """Manifest of the fine-tune of one of n shards; its delta lies beside it."""
        return self.paths.shard.format(
            model=model or self.model,
            dataset=self.dataset,
            recipe=recipe,
            n=n,
            shard=shard,
            seed=self.seed,
        )

    def given_finetune(self, index: int) -> str:
        """Manifest of a fine-tune made elsewhere, by its index in the model's `fine_tunes`."""
        return self.paths.given_finetune.format(model=self.model, finetune=index)

    def edit(self, method: str, values: Mapping[str, Any], model: str | None = None) -> str:
        """Manifest of another edit, with the same data set and seed where its method uses them.

        It is built even if nothing else asks for it.

        Args:
            values: its parameters that differ from their defaults.
            model: alias; None: the same model.
        """
        params, uses = params_of(method, values)(**values), METHODS[method].USES
        other = Edit(
            model=model or self.model,
            dataset=self.dataset if "dataset" in uses else "-",
            method=method,
            setting=setting_slug(params),
            seed=self.seed if "seed" in uses else "-",
            params=params,
        )
        self.edits.append(other)
        return self.paths.edit.format(**vars(other))

    def samples(self, prompts: str) -> str:
        """Manifest of the base model's own continuations of a prompt set of the catalogue."""
        return self.paths.generations.format(model=self.model, edit="base", prompts=prompts)

    def scores(self, prompts: str, scorer: str) -> str:
        """Manifest of the toxicity of these samples by a scorer of the catalogue."""
        return self.paths.toxicity.format(
            model=self.model, edit="base", prompts=prompts, scorer=scorer
        )

    def scorer(self, alias: str) -> str:
        """Manifest of a scorer of the catalogue."""
        return self.paths.scorer.format(scorer=alias)
