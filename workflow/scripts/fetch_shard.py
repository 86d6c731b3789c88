"""Rule fetch_shard."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake, online=True):
    from detoxmerge.merge.made_elsewhere import fetch_shard

    w = snakemake.wildcards
    fetch_shard(
        f"models.{w.model}.shards.{w.shard}",
        snakemake.params.protocol,
        base=Path(snakemake.input.base),
        out=Path(snakemake.output[0]),
    )
