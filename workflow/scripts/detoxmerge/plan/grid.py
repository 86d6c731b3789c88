"""What a study consists of: every edit, every measurement, every file. Computed once, as text."""

from collections import Counter
from functools import cached_property
from itertools import product
from typing import Any

from pydantic import BaseModel

from .at import At
from .checks import settings
from .config import Config
from .edits import Edit, FineTune, ShardSet
from .errors import UserError, nearest
from .expected import expected_protocols
from .exports import find_export
from .methods import METHODS
from .paths import Paths
from .protocol import Protocol
from .slug import setting_slug, slug

# verb -> the tensor files that stand beside `edit.json`
TENSORS = {
    "delta": ["delta.safetensors"],
    "hooks": ["hooks.safetensors"],
    "logits": [],
    "choose": [],
}


class Grid:
    """The selection (`run:`) crossed out over the catalogue."""

    def __init__(self, config: Config) -> None:
        """
        Args:
            config: the checked config.
        """
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
        found = []
        for model, (method, setting) in product(self.run.models, self.settings):
            uses = METHODS[method].USES
            datasets = self.run.datasets if "dataset" in uses else ["-"]
            seeds = [str(s) for s in self.run.seeds] if "seed" in uses else ["-"]
            params = self.settings[method, setting]
            found += [
                Edit(model, d, method, setting, s, params) for d, s in product(datasets, seeds)
            ]
        return found

    @cached_property
    def built(self) -> dict[str, Edit]:
        """Path of its manifest -> edit, for every edit: those of the study, and those that others
        are made from, which are not measured."""
        found, waiting = {}, list(self.edits)
        while waiting:
            edit = waiting.pop(0)
            path = self.paths.edit.format(**vars(edit))
            if path not in found:
                found[path] = edit
                at = self._at(edit)
                METHODS[edit.method].inputs(edit.params, at)
                waiting += at.edits
        return found

    def scales_of_method(self, method: str) -> list[str]:
        """The scales of a method's edits as they stand in paths, ascending."""
        own = self.run.method_scales.get(method, self.run.scales)
        return [slug(scale) for scale in sorted(own)]

    def scales_of_edit(self, edit: str) -> list[str]:
        """The scales of an edit in the sweep, by its wildcard; of the base only 0."""
        return ["0"] if edit == "base" else self.scales_of_method(edit.split("/")[1])

    def cost_scale(self, edit: str) -> str:
        """The scale that an edit's cost is measured at: its smallest from 1 on, else its largest.

        1 is the trained model of a trained method, and N = 2 of best-of-N.
        """
        scales = self.scales_of_edit(edit)
        return next((scale for scale in scales if float(scale) >= 1), scales[-1])

    def scales_of(self, edit: str, measured_on: str) -> list[str] | None:
        """The scales an edit is measured at.

        Args:
            edit: the wildcard.
            measured_on: prompt set or corpus.

        Returns:
            For the base only 0; the sweep's; None for a set of the final stage, where the choices
            decide (`choices`).
        """
        final = edit != "base" and self.stage_of(measured_on) == "final"
        return None if final else self.scales_of_edit(edit)

    def stage_of(self, measured_on: str) -> str:
        """``final`` for prompt sets and corpora of that stage, else ``sweep``."""
        final = self.run.final
        return "final" if final and measured_on in (*final.prompts, *final.corpora) else "sweep"

    def choices(self, model: str, edit: str) -> list[str]:
        """Manifests of the scales that the selectors choose for an edit; none for the base."""
        if edit == "base":
            return []
        at = {"model": model, "edit": edit}
        return [self.paths.selected.format(selector=s, **at) for s in self.run.selectors]

    def read_for_choice(self, model: str, edit: str, selector: str) -> dict[str, str]:
        """What a selector reads to choose for an edit.

        Args:
            model: alias.
            edit: the wildcard.
            selector: alias.

        Returns:
            `toxicity`, `perplexity`, `base_toxicity`, `base_perplexity`, and, where another edit
            is matched, that edit's `matched_toxicity` and `matched_choice`.
        """
        p, entry, read = self.paths, self.config.selectors[selector], self.config.read_by(selector)
        corpus, judged = {"corpus": read["corpus"]}, {k: read[k] for k in ("prompts", "scorer")}
        found = {
            "toxicity": p.toxicity.format(model=model, edit=edit, **judged),
            "perplexity": p.perplexity.format(model=model, edit=edit, **corpus),
            "base_toxicity": p.toxicity.format(model=model, edit="base", **judged),
            "base_perplexity": p.perplexity.format(model=model, edit="base", **corpus),
        }
        if entry.to:
            at = {"model": model, "edit": self._beside(edit, entry.to)}
            found["matched_toxicity"] = p.toxicity.format(**at, **judged)
            found["matched_choice"] = p.selected.format(selector=entry.by, **at)
        return found

    def _beside(self, edit: str, name: str) -> str:
        """The edit `method/setting` of the same data set and seed, as far as it uses them.

        Beside an edit without a data set or seed it is of the study's own, which is the only one.
        """
        dataset, *_, seed = edit.split("/")
        method, setting = name.split("/")
        uses = METHODS[method].USES
        dataset = self.run.datasets[0] if dataset == "-" else dataset
        seed = f"seed{self.run.seeds[0]}" if seed == "seed-" else seed
        dataset = dataset if "dataset" in uses else "-"
        return f"{dataset}/{method}/{setting}/{seed if 'seed' in uses else 'seed-'}"

    def _at(self, edit: Edit) -> At:
        return At(self.paths, edit.model, edit.dataset, edit.seed, self.run)

    def inputs_of(self, edit: Edit) -> list[str]:
        """Manifests that a method asks for."""
        return METHODS[edit.method].inputs(edit.params, self._at(edit))

    def made_from(self, pattern: str) -> list[dict[str, str]]:
        """Wildcards of all files of one kind that edits are made from, each once.

        Args:
            pattern: of `paths`, without `{edit}`.

        Returns:
            A mapping per file, in the order of the edits.
        """
        every = [path for edit in self.built.values() for path in self.inputs_of(edit)]
        found = {path: self.paths.wildcards(pattern, path) for path in every}
        return [wildcards for wildcards in found.values() if wildcards]

    def fine_tunes_of(self, edit: Edit) -> list[FineTune]:
        """The fine-tunes among what a method asks for."""
        found = [self.paths.wildcards(self.paths.shard, path) for path in self.inputs_of(edit)]
        return [FineTune(**w | {k: int(w[k]) for k in ("n", "shard")}) for w in found if w]

    def tensors_beside(self, edit: Edit) -> list[str]:
        """The tensor files that an edit's own job writes."""
        folder = self.paths.edit.format(**vars(edit)).removesuffix("edit.json")
        return [folder + name for name in TENSORS[METHODS[edit.method].VERB]]

    def tensors_read(self, edit: Edit) -> list[str]:
        """The tensor files of what an edit is made from: of fine-tunes and of other edits."""
        found = [self.paths.shard_delta.format(**vars(tune)) for tune in self.fine_tunes_of(edit)]
        others = [self.built[path] for path in self.inputs_of(edit) if path in self.built]
        return found + [tensors for other in others for tensors in self.tensors_of(other)]

    def tensors_of(self, edit: Edit) -> list[str]:
        """The tensor files that a loaded edit reads: its own, else those that it is made from."""
        return self.tensors_beside(edit) or self.tensors_read(edit)

    @cached_property
    def given_shards(self) -> list[tuple[str, int]]:
        """Model and place in its list of every fine-tune made elsewhere that some edit takes."""
        found = self.made_from(self.paths.given_shard)
        return sorted({(w["model"], int(w["shard"])) for w in found})

    @cached_property
    def fine_tunes(self) -> list[FineTune]:
        """Every fine-tune of the study, once."""
        every = self.built.values()
        return list(dict.fromkeys(one for edit in every for one in self.fine_tunes_of(edit)))

    @cached_property
    def shard_sets(self) -> list[ShardSet]:
        """Every set of two fine-tunes or more that some edit takes whole."""
        found: dict[ShardSet, None] = {}
        for edit in self.built.values():
            used = Counter(tune.shards for tune in self.fine_tunes_of(edit))
            found |= {shards: None for shards, count in used.items() if count == shards.n > 1}
        return list(found)

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
        known = [name for of, name in self.settings if of == method]
        raise UserError(
            f"{method} has no setting '{setting}' for {wildcards.model} in the config; "
            f"{nearest(setting, known)}"
        )

    def measurements(self, model: str, edit: str) -> list[str]:
        """Manifests of everything measured of one edit, in both stages, and of its choices."""
        p, at = self.paths, {"model": model, "edit": edit}
        found = []
        for stage in self.run.stages.values():
            found += [
                p.toxicity.format(prompts=prompts, scorer=scorer, **at)
                for prompts, scorer in product(stage.prompts, stage.scorers)
            ]
            found += [p.fluency.format(prompts=prompts, **at) for prompts in stage.prompts]
            found += [p.perplexity.format(corpus=corpus, **at) for corpus in stage.corpora]
        return found + self.choices(model, edit)

    @cached_property
    def changes(self) -> list[str]:
        """What is measured of the vector of each edit that has one."""
        moved = [edit for edit in self.edits if METHODS[edit.method].VERB == "delta"]
        return [self.paths.change.format(model=e.model, edit=e.edit) for e in moved]

    @cached_property
    def costs(self) -> list[str]:
        """What each edit costs beside its quality."""
        return [self.paths.cost.format(model=e.model, edit=e.edit) for e in self.edits]

    @cached_property
    def results(self) -> list[str]:
        """Every measurement of the study; the costs are times, which no other run repeats."""
        return self.measured + self.costs

    @cached_property
    def measured(self) -> list[str]:
        """Every measurement but the costs."""
        every = [(model, "base") for model in self.run.models]
        every += [(edit.model, edit.edit) for edit in self.edits]
        found = [path for model, edit in every for path in self.measurements(model, edit)]
        found += self.changes
        return found + [self.paths.shard_statistics.format(**vars(s)) for s in self.shard_sets]

    @cached_property
    def exports(self) -> list[str]:
        """Manifest of every exported model."""
        found = [find_export(self, name) for name in self.run.exports]
        return [
            self.paths.export.format(model=edit.model, edit=edit.edit, scale=scale)
            for edit, scale in found
        ]

    @cached_property
    def expected(self) -> dict[str, dict[str, Any]]:
        """Manifest -> the protocol it must have recorded, for every manifest of the study."""
        return dict(expected_protocols(self))
