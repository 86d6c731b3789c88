"""Rule train_scorer."""

from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.scorer import train_scorer

    alias = snakemake.wildcards.scorer
    train_scorer(
        alias,
        snakemake.params.protocol,
        checkpoint_minutes=snakemake.config["scorers"][alias]["train"]["checkpoint_minutes"],
        device=snakemake.config["device"],
        seconds=seconds_of(snakemake),
        out=Path(snakemake.output[0]),
    )
