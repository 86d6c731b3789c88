"""Rule pretrain_base."""

from functools import partial
from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.job import Job, once
    from detoxmerge.train.pretrain import pretrain_base

    alias, config = snakemake.wildcards.model, snakemake.config
    minutes = config["models"][alias]["pretrain"]["checkpoint_minutes"]
    job = Job(Path(snakemake.output[0]), device=config["device"], checkpoint_minutes=minutes)
    make = partial(pretrain_base, alias, snakemake.params.protocol)
    once(job, seconds_of(snakemake), make)
