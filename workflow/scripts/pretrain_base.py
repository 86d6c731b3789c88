"""Rule pretrain_base."""

from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.pretrain import pretrain_base

    alias = snakemake.wildcards.model
    pretrain_base(
        alias,
        snakemake.params.protocol,
        checkpoint_minutes=snakemake.config["models"][alias]["pretrain"]["checkpoint_minutes"],
        device=snakemake.config["device"],
        seconds=seconds_of(snakemake),
        out=Path(snakemake.output[0]),
    )
