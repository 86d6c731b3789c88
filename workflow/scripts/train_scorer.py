"""Rule train_scorer."""

from functools import partial
from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.job import Job, once
    from detoxmerge.train.scorer import train_scorer

    alias, config = snakemake.wildcards.scorer, snakemake.config
    minutes = config["scorers"][alias]["train"]["checkpoint_minutes"]
    job = Job(Path(snakemake.output[0]), device=config["device"], checkpoint_minutes=minutes)
    make = partial(train_scorer, alias, snakemake.params.protocol)
    once(job, seconds_of(snakemake), make)
