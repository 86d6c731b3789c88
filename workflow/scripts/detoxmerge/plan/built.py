"""What a study builds: every edit, and every fine-tune and tensor file that they are made from."""

from collections import Counter
from functools import cached_property
from itertools import product
from typing import Any

from pydantic import BaseModel

from ..errors import UserError, nearest
from .at import At
from .config import Config
from .edits import Edit, FineTune, ShardSet
from .paths import Paths
from .protocol import Protocol
from .registry import METHODS, files_of_verb, merged_shards, replicates
from .settings import settings
from .slug import setting_slug


class Built:
    """The edits of a study: every combination of what the selection (`run:`) names."""

    def __init__(self, config: Config) -> None:
        """Take a checked config; nothing is read from disk."""
        self.config, self.run = config, config.run
        self.paths = Paths(config.results)
        self.protocol = Protocol(config)

    @cached_property
    def settings(self) -> dict[tuple[str, str], BaseModel]:
        """(method, setting) -> Params, for every combination that the config asks for."""
        return {
            (name, setting_slug(params)): params
            for name in self.run.methods
            for params in settings(name, self.config.methods[name])
        }

    @cached_property
    def edits(self) -> list[Edit]:
        """Every edit but the base, in the order of the config."""
        edits = []
        for model, (method, setting) in product(self.run.models, self.settings):
            uses = METHODS[method].USES
            datasets = self.run.datasets if "dataset" in uses else ["-"]
            seeds = [str(s) for s in self.run.seeds] if "seed" in uses else ["-"]
            params = self.settings[method, setting]
            edits += [
                Edit(model, dataset, method, setting, seed, params)
                for dataset, seed in product(datasets, seeds)
            ]
        return edits

    @cached_property
    def built(self) -> dict[str, Edit]:
        """Path of its manifest -> edit, of the study's edits and of those that they are made from.

        The latter are not measured.
        """
        edits, waiting = {}, list(self.edits)
        while waiting:
            edit = waiting.pop(0)
            path = self.paths.edit.format(**vars(edit))
            if path not in edits:
                edits[path] = edit
                at = self._at(edit)
                METHODS[edit.method].inputs(edit.params, at)  # it adds what it asks for to at.edits
                waiting += at.edits
        return edits

    def _at(self, edit: Edit) -> At:
        return At(self.paths, edit.model, edit.dataset, edit.seed)

    def inputs_of(self, edit: Edit) -> list[str]:
        """Manifests that a method asks for."""
        return METHODS[edit.method].inputs(edit.params, self._at(edit))

    def made_from(self, pattern: str) -> list[dict[str, str]]:
        """Wildcards of all files of one pattern that edits are made from, each file once.

        Args:
            pattern: of `paths`, without `{edit}`.

        Returns:
            A mapping per file, in the order of the edits.
        """
        inputs = [path for edit in self.built.values() for path in self.inputs_of(edit)]
        matches = {path: self.paths.wildcards(pattern, path) for path in inputs}
        return [wildcards for wildcards in matches.values() if wildcards]

    def fine_tunes_of(self, edit: Edit) -> list[FineTune]:
        """The fine-tunes among what a method asks for."""
        matches = [self.paths.wildcards(self.paths.shard, path) for path in self.inputs_of(edit)]
        return [
            FineTune(w["model"], w["dataset"], w["recipe"], int(w["n"]), w["seed"], int(w["shard"]))
            for w in matches
            if w
        ]

    def tensors_beside(self, edit: Edit) -> list[str]:
        """The tensor files that an edit's own job writes."""
        folder = self.paths.edit.format(**vars(edit)).removesuffix("edit.json")
        return [folder + name for name in files_of_verb(METHODS[edit.method].VERB)]

    def tensors_read(self, edit: Edit) -> list[str]:
        """The tensor files of what an edit is made from: of fine-tunes and of other edits."""
        deltas = [self.paths.shard_delta.format(**vars(tune)) for tune in self.fine_tunes_of(edit)]
        others = [self.built[path] for path in self.inputs_of(edit) if path in self.built]
        return deltas + [tensors for other in others for tensors in self.tensors_of(other)]

    def tensors_of(self, edit: Edit) -> list[str]:
        """The tensor files that a loaded edit reads: those beside it, else what it is made from."""
        return self.tensors_beside(edit) or self.tensors_read(edit)

    @cached_property
    def merged_edits(self) -> list[Edit]:
        """The edits that merge N shards, but for those that only repeat another: figures over N."""
        return [
            edit
            for edit in self.edits
            if merged_shards(edit.method, edit.params) and edit.method not in replicates()
        ]

    @cached_property
    def given_finetunes(self) -> list[tuple[str, int]]:
        """Model and index in its `fine_tunes` of each one made elsewhere that some edit takes."""
        tunes = self.made_from(self.paths.given_finetune)
        return sorted({(w["model"], int(w["finetune"])) for w in tunes})

    @cached_property
    def fine_tunes(self) -> list[FineTune]:
        """Every fine-tune of the study, once."""
        edits = self.built.values()
        return list(dict.fromkeys(tune for edit in edits for tune in self.fine_tunes_of(edit)))

    @cached_property
    def shard_sets(self) -> list[ShardSet]:
        """Every set of two fine-tunes or more that some edit takes whole."""
        sets: dict[ShardSet, None] = {}
        for edit in self.built.values():
            used = Counter(tune.shards for tune in self.fine_tunes_of(edit))
            sets |= {shards: None for shards, count in used.items() if count == shards.n > 1}
        return list(sets)

    def find(self, wildcards: Any) -> Edit:
        """The edit behind {model} and {edit}, or {model} and the parts of {edit}; not the base.

        Raises:
            UserError: the study has no such edit.
        """
        edit = getattr(wildcards, "edit", None)
        if edit is None:
            w = wildcards
            edit = f"{w.dataset}/{w.method}/{w.setting}/seed{w.seed}"
        path = self.paths.any_edit.format(model=wildcards.model, edit=edit)
        if path in self.built:
            return self.built[path]
        _, method, setting, _ = edit.split("/")
        known = [name for owner, name in self.settings if owner == method]
        raise UserError(
            f"{method} has no setting '{setting}' for {wildcards.model} in the config; "
            f"{nearest(setting, known)}"
        )

    def benchmarks_of(self, edit: Edit) -> list[str]:
        """Where Snakemake keeps the times of all jobs that make an edit.

        Returns:
            Of the edit itself, and of the fine-tunes and edits that it is made from. Empty if one
            of these was made elsewhere, since its time is not known.
        """
        p, benchmarks, waiting = self.paths, [], [edit]
        while waiting:
            part = waiting.pop(0)
            inputs = self.inputs_of(part)
            if any(p.wildcards(p.given_finetune, path) for path in inputs):
                return []
            benchmarks.append(p.benchmark(p.edit).format(**vars(part)))
            tunes = self.fine_tunes_of(part)
            benchmarks += [p.benchmark(p.shard, "finetune").format(**vars(tune)) for tune in tunes]
            waiting += [self.built[path] for path in inputs if path in self.built]
        return list(dict.fromkeys(benchmarks))
