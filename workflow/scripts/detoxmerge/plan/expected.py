"""The protocol that each manifest of a study must have recorded."""

from collections.abc import Iterator
from typing import Any

from .exports import exports_of
from .grid import Grid

Expected = Iterator[tuple[str, dict[str, Any]]]


def expected_protocols(grid: Grid) -> dict[str, dict[str, Any]]:
    """Every manifest that the study makes or reads.

    Returns:
        Path -> the protocol that it must have recorded.
    """
    return dict(_expected(grid))


def _expected(grid: Grid) -> Expected:
    p, protocol = grid.paths, grid.protocol
    yield from _sources(grid)
    # the base has no cost of its own: it is timed in the job of each edit
    for alias in grid.run.models:
        yield from _measurements(grid, alias, "base")
    # more edits are built than measured: some are only made for others
    for path, edit in grid.built.items():
        yield path, protocol.edit(edit.method, edit.params)
    for edit in grid.edits:
        yield from _measurements(grid, edit.model, edit.edit)
        scale = grid.cost_scale(edit.edit)
        yield p.cost.format(model=edit.model, edit=edit.edit), protocol.cost(edit.model, scale)
    for path in grid.changes:
        yield path, protocol.change()
    yield from _samples(grid)
    for tune in grid.fine_tunes:
        yield p.shard.format(**vars(tune)), protocol.shard(tune.recipe)
        yield p.partition.format(**vars(tune)), protocol.partition()
    for model, index in grid.given_finetunes:
        path = p.given_finetune.format(model=model, finetune=index)
        yield path, protocol.given_finetune(model, index)
    for shards in grid.shard_sets:
        yield p.shard_statistics.format(**vars(shards)), protocol.shard_statistics()
    for path in exports_of(grid):
        yield path, protocol.export()


def _sources(grid: Grid) -> Expected:
    p, protocol = grid.paths, grid.protocol
    used = {edit.dataset for edit in grid.built.values()}
    for alias in [name for name in grid.run.datasets if name in used]:
        yield p.dataset.format(dataset=alias), protocol.dataset(alias)
    for stage in grid.run.stages.values():
        for alias in stage.prompts:
            yield p.prompts.format(prompts=alias), protocol.prompts(alias)
        for alias in stage.corpora:
            yield p.corpus.format(corpus=alias), protocol.corpus(alias)
        for alias in stage.scorers:
            yield p.scorer.format(scorer=alias), protocol.scorer(alias)
    bases = [*grid.run.bases, *(edit.model for edit in grid.built.values())]
    bases += [w["model"] for w in grid.made_from(p.base)]
    for alias in dict.fromkeys(bases):
        yield p.base.format(model=alias), protocol.base(alias)
        if grid.config.models[alias].pretrain:
            yield p.pretrained.format(model=alias), protocol.pretrained(alias)


def _samples(grid: Grid) -> Expected:
    """Continuations of base models, and their scores, from which edits are made."""
    p, protocol = grid.paths, grid.protocol
    generations, toxicity = (x.replace("{edit}", "base") for x in (p.generations, p.toxicity))
    for w in grid.made_from(generations):
        yield generations.format(**w), protocol.generate(w["model"], w["prompts"])
        yield p.prompts.format(**w), protocol.prompts(w["prompts"])
    for w in grid.made_from(toxicity):
        yield toxicity.format(**w), protocol.toxicity(w["scorer"])
    for w in [*grid.made_from(toxicity), *grid.made_from(p.scorer)]:
        yield p.scorer.format(**w), protocol.scorer(w["scorer"])


def _measurements(grid: Grid, model: str, edit: str) -> Expected:
    p, protocol, names = grid.paths, grid.protocol, {"model": model, "edit": edit}
    for stage in grid.run.stages.values():
        for prompts in stage.prompts:
            generations = p.generations.format(prompts=prompts, **names)
            yield generations, protocol.generate(model, prompts, edit)
            for scorer in stage.scorers:
                path = p.toxicity.format(prompts=prompts, scorer=scorer, **names)
                yield path, protocol.toxicity(scorer)
            yield p.fluency.format(prompts=prompts, **names), protocol.fluency(model)
        for corpus in stage.corpora:
            path = p.perplexity.format(corpus=corpus, **names)
            yield path, protocol.perplexity(model, corpus)
    for selector, path in zip(grid.run.selectors, grid.choices(model, edit), strict=False):
        yield path, protocol.selection(selector)
