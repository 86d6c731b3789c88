"""Rule plot_shard_snr."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.figures import draw
    from detoxmerge.report.shard_maps import shard_snr, signal_to_noise

    data = signal_to_noise([Path(path) for path in snakemake.input.shards])
    draw(shard_snr, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
