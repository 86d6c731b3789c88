"""Config errors about the two stages: texts that both would see, and rules that cannot choose."""

from collections.abc import Iterator

from ...errors import nearest
from ..config import Config, Run
from ..entries import Source
from ..registry import METHODS
from ..seeds import groups_of_stage
from ..settings import aliases, settings
from ..slug import setting_slug, slug


def shared_texts(config: Config) -> Iterator[str]:
    """A sentence for each pair of sets of the two stages that is not disjoint by construction.

    Two sets are disjoint if they are different parts of a source, different splits or subsets of a
    data set of the hub, or from different files.
    """
    run = config.run
    if run.final is None:
        return
    for kind in ("prompts", "corpora"):
        known = getattr(config, kind)
        for swept in getattr(run.sweep, kind):
            for final in getattr(run.final, kind):
                if swept in known and final in known and not _disjoint(known[swept], known[final]):
                    yield (
                        f"run.final.{kind}: '{final}' may share texts with '{swept}' of run.sweep; "
                        "take the one from `part: validation` and the other from `part: test`"
                    )


def trained_on(config: Config) -> Iterator[str]:
    """A sentence for each reported prompt set that an edit is made from.

    Only the last stage is reported: edits may be made from the prompts that choose a scale.
    """
    used = {
        alias
        for name in config.run.methods
        for params in settings(name, config.methods[name])
        for _, kind, alias in aliases(params)
        if kind == "prompts"
    }
    (stage, sets), known = list(config.run.stages.items())[-1], config.prompts
    for reported in sets.prompts:
        for alias in sorted(used):
            if not _disjoint(known[reported], known[alias]):
                yield (
                    f"run.{stage}.prompts: '{reported}' may share texts with '{alias}', which a "
                    "method is made from; take that from `part: validation`, or from other files"
                )


def _disjoint(first: Source, second: Source) -> bool:
    if first.part and second.part and first.part != second.part:
        return True
    if first.generated and second.generated:
        return False  # another seed gives other rows of the same few sentences
    if first.where != second.where and first.where.keys() == second.where.keys():
        return True
    origins = [(entry.hub, entry.subset, entry.generated is None) for entry in (first, second)]
    if origins[0] != origins[1]:
        return True
    pieces = [set(entry.splits or entry.path or []) for entry in (first, second)]
    return not pieces[0] & pieces[1]


def bad_selectors(config: Config) -> Iterator[str]:
    """A sentence for each value of a selector that names nothing of the study."""
    run = config.run
    edits = [
        f"{name}/{setting_slug(params)}"
        for name in run.methods
        for params in settings(name, config.methods[name])
    ]
    for alias in run.selectors:
        entry, where = config.selectors[alias], f"selectors.{alias}"
        # a fixed scale must be one at which every method is measured
        for key, scales in _scales(run).items():
            if entry.scale is not None and slug(entry.scale) not in map(slug, scales):
                yield f"{where}.scale: {slug(entry.scale)} is not among run.{key}"
        # beyond the limit of the sweep there is nothing to choose from
        limit = run.sweep.within.ppl_ratio if run.sweep.within else None
        if entry.ratio is not None and limit is not None and entry.ratio > limit:
            yield (
                f"{where}.ratio: {entry.ratio:g} is above run.sweep.within.ppl_ratio {limit:g}, so "
                "scales that it may choose are left out of the sweep; raise the limit"
            )
        # an edit is matched at the one scale that another rule chooses for it
        if entry.to is not None:
            yield from _unless_in(entry.to, edits, f"{where}.to", "edits (method/setting)")
            choosing = [
                name
                for name in run.selectors
                if config.selectors[name].rule not in ("matched", "pareto")
            ]
            yield from _several(run, entry.to.split("/")[0], f"{where}.to")
            yield from _unless_in(entry.by, choosing, f"{where}.by", "rules that choose one scale")
        # a selector reads what the sweep measures, and nothing else
        for key, kind in (("prompts", "prompts"), ("scorer", "scorers"), ("corpus", "corpora")):
            if (name := getattr(entry, key)) is not None:
                known = getattr(run.sweep, kind)
                yield from _unless_in(name, known, f"{where}.{key}", f"run.sweep.{kind}")


def _scales(run: Run) -> dict[str, list[float]]:
    """Place in `run` -> scales, of all lists of scales that some method has."""
    by_method = {f"method_scales.{name}": scales for name, scales in run.method_scales.items()}
    shared = {} if set(run.methods) <= set(run.method_scales) else {"scales": run.scales}
    return shared | by_method


def _several(run: Run, method: str, where: str) -> Iterator[str]:
    """A matched edit with several data sets (or seeds), beside methods that use none of them."""
    for kind, values in (("dataset", run.datasets), ("seed", run.seeds)):
        if len(values) == 1 or method not in METHODS or kind not in METHODS[method].USES:
            continue
        for other in [name for name in run.methods if kind not in METHODS[name].USES]:
            yield (
                f"{where}: {method} has an edit for each {kind}, and {other} has none that belongs "
                f"to one; name a single {kind} in run.{kind}s, or match another edit"
            )


def _unless_in(name: str | None, known: list[str], where: str, what: str) -> Iterator[str]:
    if name not in known:
        yield f"{where}: '{name}' is not among {what}; {nearest(name, known)}"


def repeated_generations(config: Config) -> Iterator[str]:
    """A sentence for each pair of prompt sets that would give the same continuations twice."""
    for stage in config.run.stages:
        for group in groups_of_stage(config, stage):
            first: dict[int, str] = {}
            for alias in group:
                seed = config.prompts[alias].generate.seed
                if first.setdefault(seed, alias) != alias:
                    yield (
                        f"run.{stage}.prompts: '{first[seed]}' and '{alias}' are the same prompts, "
                        f"continued with the same generate.seed {seed}; give one another seed"
                    )
