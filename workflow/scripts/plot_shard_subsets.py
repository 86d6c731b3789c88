"""Rule plot_shard_subsets."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.figures import draw
    from detoxmerge.report.shard_figures import shard_subsets, subsets

    data = subsets([Path(path) for path in snakemake.input.shards])
    draw(shard_subsets, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
