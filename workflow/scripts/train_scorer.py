"""Rule train_scorer."""

from functools import partial
from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.budget import once
    from detoxmerge.train.scorer import train_scorer

    alias, out = snakemake.wildcards.scorer, Path(snakemake.output[0])
    make = partial(
        train_scorer,
        alias,
        snakemake.params.protocol,
        checkpoint_minutes=snakemake.config["scorers"][alias]["train"]["checkpoint_minutes"],
        device=snakemake.config["device"],
        out=out,
    )
    once(out, seconds_of(snakemake), make)
