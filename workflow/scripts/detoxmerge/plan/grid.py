"""A study as paths: every edit, and every measurement of it. Computed once, from the config."""

from functools import cached_property
from itertools import product

from .built import Built
from .registry import METHODS
from .slug import slug


class Grid(Built):
    """What is built (built.py), and what is measured of it in which stage."""

    def scales_of_method(self, method: str) -> list[str]:
        """The scales of a method's edits, as text for paths, ascending."""
        scales = self.run.method_scales.get(method, self.run.scales)
        return [slug(scale) for scale in sorted(scales)]

    def scales_of_edit(self, edit: str) -> list[str]:
        """The scales of an edit (its wildcard) in the sweep; only 0 for the base."""
        return ["0"] if edit == "base" else self.scales_of_method(edit.split("/")[1])

    def cost_scale(self, edit: str) -> str:
        """The scale at which an edit's cost is measured: its smallest from 1 on, else its largest.

        1 is the trained model of a trained method, and N = 2 of best-of-N.
        """
        scales = self.scales_of_edit(edit)
        return next((scale for scale in scales if float(scale) >= 1), scales[-1])

    def scales_of_stage(self, edit: str, measured_on: str) -> list[str] | None:
        """The scales at which an edit is measured on a prompt set or corpus.

        Returns:
            Only 0 for the base; the sweep's scales; None for a set of the final stage, where the
            selectors decide (`choices`).
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
        pattern = self.paths.selected
        return [pattern.format(model=model, edit=edit, selector=s) for s in self.run.selectors]

    def limited_by(self, model: str, edit: str, prompts: str) -> dict[str, list[str]]:
        """Manifests of what decides at which scales an edit is sampled in the sweep.

        Returns:
            `perplexity` and `base_perplexity`, one of each per corpus; none without a limit.
        """
        within = self.protocol.generate(model, prompts, edit).get("within")
        corpora = within["corpora"] if within else []
        return {
            name: [self.paths.perplexity.format(model=model, edit=of, corpus=c) for c in corpora]
            for name, of in (("perplexity", edit), ("base_perplexity", "base"))
        }

    @property
    def limit_in_words(self) -> str:
        """How much of the sweep is measured at most, if it has a limit; else empty."""
        sweep = self.run.sweep
        if not sweep.within:
            return ""
        most = sum(len(self.scales_of_edit(edit.edit)) for edit in self.edits)
        return (
            f"run.sweep.within: the sweep measures toxicity at {most} scales at most, of "
            f"{len(self.edits)} edits; those whose perplexity on {' or '.join(sweep.corpora)} is "
            f"above {sweep.within.ppl_ratio:g} times the base's will be left out"
        )

    def read_for_choice(self, model: str, edit: str, selector: str) -> dict[str, str]:
        """What a selector reads to choose for an edit.

        Returns:
            `toxicity`, `perplexity`, `base_toxicity`, `base_perplexity`, and, where another edit
            is matched, that edit's `matched_toxicity` and `matched_choice`.
        """
        p, entry, read = self.paths, self.config.selectors[selector], self.config.read_by(selector)
        corpus, judged = {"corpus": read["corpus"]}, {k: read[k] for k in ("prompts", "scorer")}
        inputs = {
            "toxicity": p.toxicity.format(model=model, edit=edit, **judged),
            "perplexity": p.perplexity.format(model=model, edit=edit, **corpus),
            "base_toxicity": p.toxicity.format(model=model, edit="base", **judged),
            "base_perplexity": p.perplexity.format(model=model, edit="base", **corpus),
        }
        if entry.to:
            matched = {"model": model, "edit": self._beside(edit, entry.to)}
            inputs["matched_toxicity"] = p.toxicity.format(**matched, **judged)
            inputs["matched_choice"] = p.selected.format(selector=entry.by, **matched)
        return inputs

    def _beside(self, edit: str, name: str) -> str:
        """The edit `method/setting` with the same data set and seed, where it uses them.

        Beside an edit without a data set or seed it has the study's, which is the only one.
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
        p, names = self.paths, {"model": model, "edit": edit}
        manifests = []
        for stage in self.run.stages.values():
            manifests += [
                p.toxicity.format(prompts=prompts, scorer=scorer, **names)
                for prompts, scorer in product(stage.prompts, stage.scorers)
            ]
            manifests += [p.fluency.format(prompts=prompts, **names) for prompts in stage.prompts]
            manifests += [p.perplexity.format(corpus=corpus, **names) for corpus in stage.corpora]
        return manifests + self.choices(model, edit)

    @cached_property
    def changes(self) -> list[str]:
        """Manifests of the parameter change of each edit that moves the weights."""
        edits = [edit for edit in self.edits if METHODS[edit.method].VERB == "delta"]
        return [self.paths.change.format(model=e.model, edit=e.edit) for e in edits]

    @cached_property
    def costs(self) -> list[str]:
        """Manifests of what each edit costs in time and memory."""
        return [self.paths.cost.format(model=e.model, edit=e.edit) for e in self.edits]

    @cached_property
    def results(self) -> list[str]:
        """Every measurement of the study, costs included."""
        return self.measured + self.costs

    @cached_property
    def measured(self) -> list[str]:
        """Every measurement but the costs: those are times, which no other run repeats."""
        edits = [(model, "base") for model in self.run.models]
        edits += [(edit.model, edit.edit) for edit in self.edits]
        manifests = [path for model, edit in edits for path in self.measurements(model, edit)]
        manifests += self.changes
        return manifests + [self.paths.shard_statistics.format(**vars(s)) for s in self.shard_sets]
