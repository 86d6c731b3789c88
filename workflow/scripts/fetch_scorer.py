"""Rule fetch_scorer."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake, online=True):
    from detoxmerge.models.scorers import fetch_scorer

    fetch_scorer(snakemake.wildcards.scorer, snakemake.params.protocol, Path(snakemake.output[0]))
