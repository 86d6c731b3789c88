"""What a study consists of: every edit, every measurement, every file. Computed once, as text."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from pydantic import BaseModel

from .checks import settings
from .config import Config
from .expected import expected_protocols
from .exports import find_export
from .methods import METHODS
from .paths import Paths
from .protocol import Protocol
from .slug import setting_slug, slug


@dataclass(frozen=True)
class At:
    """Where an edit stands; what a method's `inputs()` asks for paths."""

    paths: Paths
    model: str
    dataset: str
    seed: int

    def shard(self, recipe: str, n: int, shard: int) -> str:
        """Manifest of the fine-tune of one of n shards."""
        return self.paths.shard.format(
            model=self.model, dataset=self.dataset, recipe=recipe, n=n, shard=shard, seed=self.seed
        )

    def given(self, shard: int) -> str:
        """Manifest of a fine-tune made elsewhere."""
        return self.paths.given_shard.format(model=self.model, shard=shard)

    def data(self) -> str:
        """Manifest of the data set."""
        return self.paths.dataset.format(dataset=self.dataset)

    def base(self) -> str:
        """Manifest of the base model."""
        return self.paths.base.format(model=self.model)


@dataclass(frozen=True)
class Edit:
    """One edit of the study. `setting` and `seed` are as in its path; `-` where not used."""

    model: str
    dataset: str
    method: str
    setting: str
    seed: str
    params: BaseModel

    @property
    def edit(self) -> str:
        """The `{edit}` wildcard."""
        return f"{self.dataset}/{self.method}/{self.setting}/seed{self.seed}"


@dataclass(frozen=True)
class ShardSet:
    """The N fine-tunes of one data set, recipe and seed; fills `Paths.shard_statistics`."""

    model: str
    dataset: str
    recipe: str
    n: int
    seed: str


@dataclass(frozen=True)
class FineTune(ShardSet):
    """One of the N; fills `Paths.shard` and its neighbours."""

    shard: int

    @property
    def shards(self) -> ShardSet:
        """The set that it belongs to."""
        return ShardSet(self.model, self.dataset, self.recipe, self.n, self.seed)


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
    def scales(self) -> list[str]:
        """The scales as they stand in paths, ascending."""
        return [slug(scale) for scale in sorted(self.run.scales)]

    def scales_of(self, edit: str, measured_on: str) -> list[str] | None:
        """The scales an edit is measured at.

        Args:
            edit: the wildcard.
            measured_on: prompt set or corpus.

        Returns:
            For the base only 0; the sweep's; None for a set of the final stage, where the choices
            decide (`choices`).
        """
        if edit == "base":
            return ["0"]
        return None if self.stage_of(measured_on) == "final" else self.scales

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

    def inputs_of(self, edit: Edit) -> list[str]:
        """Manifests that a method asks for."""
        at = At(self.paths, edit.model, edit.dataset, int(edit.seed) if edit.seed != "-" else 0)
        return METHODS[edit.method].inputs(edit.params, at)

    def fine_tunes_of(self, edit: Edit) -> list[FineTune]:
        """The fine-tunes among what a method asks for."""
        found = [self.paths.wildcards(self.paths.shard, path) for path in self.inputs_of(edit)]
        return [FineTune(**w | {k: int(w[k]) for k in ("n", "shard")}) for w in found if w]

    @cached_property
    def given_shards(self) -> list[tuple[str, int]]:
        """Model and place in its list of every fine-tune made elsewhere that some edit takes."""
        pattern = self.paths.given_shard
        found = [self.paths.wildcards(pattern, p) for e in self.edits for p in self.inputs_of(e)]
        return sorted({(w["model"], int(w["shard"])) for w in found if w})

    @cached_property
    def fine_tunes(self) -> list[FineTune]:
        """Every fine-tune of the study, once."""
        return list(dict.fromkeys(one for e in self.edits for one in self.fine_tunes_of(e)))

    @cached_property
    def shard_sets(self) -> list[ShardSet]:
        """Every set of two fine-tunes or more that some edit takes whole."""
        found: dict[ShardSet, None] = {}
        for edit in self.edits:
            used = Counter(tune.shards for tune in self.fine_tunes_of(edit))
            found |= {shards: None for shards, count in used.items() if count == shards.n > 1}
        return list(found)

    def find(self, wildcards: Any) -> Edit:
        """The edit behind {model}, {dataset}, {method}, {setting}, {seed}.

        Raises:
            KeyError: the study has no such edit; its argument is the list of its settings.
        """
        names = ("model", "dataset", "method", "setting", "seed")
        asked = tuple(str(getattr(wildcards, name)) for name in names)
        for edit in self.edits:
            if asked == tuple(getattr(edit, name) for name in names):
                return edit
        raise KeyError([s for m, s in self.settings if m == wildcards.method])

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
    def results(self) -> list[str]:
        """Every measurement of the study."""
        every = [(model, "base") for model in self.run.models]
        every += [(edit.model, edit.edit) for edit in self.edits]
        found = [path for model, edit in every for path in self.measurements(model, edit)]
        found += [self.paths.change.format(model=e.model, edit=e.edit) for e in self.edits]
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
