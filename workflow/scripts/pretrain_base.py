"""Rule pretrain_base."""

from functools import partial
from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.budget import once
    from detoxmerge.train.pretrain import pretrain_base

    alias, out = snakemake.wildcards.model, Path(snakemake.output[0])
    make = partial(
        pretrain_base,
        alias,
        snakemake.params.protocol,
        checkpoint_minutes=snakemake.config["models"][alias]["pretrain"]["checkpoint_minutes"],
        device=snakemake.config["device"],
        out=out,
    )
    once(out, seconds_of(snakemake), make)
