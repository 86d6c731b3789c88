"""Whose times make up the training time of an edit."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .grid import Edit, Grid


def benchmarks_of(grid: "Grid", edit: "Edit") -> list[str]:
    """Where Snakemake keeps the times of all jobs that an edit is made by.

    Args:
        grid: the study.
        edit: one of those that are built.

    Returns:
        Of the edit itself, and of the fine-tunes and edits that it is made from; none where one of
        these was made elsewhere, since nobody knows its time.
    """
    p, found, waiting = grid.paths, [], [edit]
    while waiting:
        one = waiting.pop(0)
        inputs = grid.inputs_of(one)
        if any(p.wildcards(p.given_shard, path) for path in inputs):
            return []
        found.append(p.benchmark(p.edit).format(**vars(one)))
        tunes = grid.fine_tunes_of(one)
        found += [p.benchmark(p.shard, "finetune").format(**vars(tune)) for tune in tunes]
        waiting += [grid.built[path] for path in inputs if path in grid.built]
    return list(dict.fromkeys(found))
