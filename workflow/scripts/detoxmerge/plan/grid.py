"""What a study consists of: every edit, every measurement, every file. Computed once, as text."""

from functools import cached_property
from itertools import product

from .built import Built
from .registry import METHODS
from .slug import slug


class Grid(Built):
    """What is built (`built.py`), and what is measured of it in which stage."""

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

    def scales_of_stage(self, edit: str, measured_on: str) -> list[str] | None:
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
