"""Rule plot_shard_cosines."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.figures import draw
    from detoxmerge.report.shard_maps import cosines, shard_cosines

    data = cosines([Path(path) for path in snakemake.input.shards])
    draw(shard_cosines, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
