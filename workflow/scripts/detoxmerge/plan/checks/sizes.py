"""Numbers of different entries that cannot go together: shards and texts, windows and contexts."""

from collections.abc import Iterator

from ...errors import UserError
from ..grid import Grid


def too_many_shards(grid: Grid) -> list[str]:
    """A sentence for each method that cuts a data set into more shards than it can have texts.

    Only where the config alone tells how many it has at most.
    """
    datasets = grid.config.datasets
    asked = {
        (edit.method, tune.n, tune.dataset)
        for edit in grid.built.values()
        for tune in grid.fine_tunes_of(edit)
    }
    most = {alias: datasets[alias].most_rows for _, _, alias in asked}
    return [
        f"methods.{method}: {n} shards of datasets.{alias}, which has {limit} texts at most; lower "
        "n"
        for method, n, alias in sorted(asked)
        if (limit := most[alias]) is not None and n > limit
    ]


def beyond_contexts(grid: Grid) -> list[str]:
    """As `beyond_context`, of every model whose context the config states."""
    made = {alias: grid.config.models[alias].pretrain for alias in grid.run.models}
    return [
        sentence
        for alias, entry in made.items()
        if entry is not None
        for sentence in beyond_context(grid, alias, entry.context)
    ]


def require_context(grid: Grid, model: str, context: int | None) -> None:
    """Raise UserError if the study measures a model with texts that it cannot read.

    Args:
        context: tokens that it can read; None where it states no limit.
    """
    if model not in grid.run.models:  # it only judges, or rewrites
        return
    if sentences := list(beyond_context(grid, model, context)):
        raise UserError("; ".join(sentences))


def beyond_context(grid: Grid, model: str, context: int | None) -> Iterator[str]:
    """A sentence for each corpus and prompt set that a model cannot be measured on."""
    config, stages = grid.config, grid.run.stages.values()
    for alias in dict.fromkeys(alias for stage in stages for alias in stage.corpora):
        corpus, where = config.corpora[alias], f"corpora.{alias}"
        window = corpus.window_tokens or context
        if window is None:
            yield f"{where}: models.{model} states no context length; set window_tokens"
        elif context is not None and window > context:
            yield (
                f"{where}.window_tokens: {window} is more than models.{model} can read, {context} "
                "tokens; lower it"
            )
        elif corpus.stride_tokens > window:
            yield (
                f"{where}.stride_tokens: {corpus.stride_tokens} is more than the window, the "
                f"{window} tokens that models.{model} can read, so tokens would be "
                "skipped; lower it"
            )
    generations = grid.paths.generations.replace("{edit}", "base")
    used = [w["prompts"] for w in grid.made_from(generations) if w["model"] == model]
    for alias in dict.fromkeys([*(a for stage in stages for a in stage.prompts), *used]):
        new = config.prompts[alias].generate.new_tokens
        if context is not None and new >= context:
            yield (
                f"prompts.{alias}.generate.new_tokens: {new} leave no room for a prompt in the "
                f"{context} tokens that models.{model} can read; lower it"
            )
