"""Rule finetune_shard: a task vector from one shard."""

from functools import partial
from pathlib import Path

import detoxmerge
from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.finetune import finetune_shard
    from detoxmerge.train.job import Job, once
    from detoxmerge.train.launch import finetune_together

    w, device = snakemake.wildcards, snakemake.config["device"]
    recipe = snakemake.config["recipes"][w.recipe]
    manifest, minutes = Path(snakemake.output.meta), recipe["checkpoint_minutes"]
    job = Job(manifest, int(w.seed), device, snakemake.params.protocol, minutes)
    make = finetune_shard
    if recipe["strategy"]:
        several = {name: recipe[name] for name in ("processes", "nodes")}
        worker = Path(detoxmerge.__file__).parents[1] / "finetune_worker.py"
        make = partial(finetune_together, worker=worker, **several)
    files = {name: Path(path) for name, path in snakemake.input.items()}
    once(job, seconds_of(snakemake), partial(make, shard=int(w.shard), **files))
