"""Rule finetune_shard: a task vector from one shard."""

from functools import partial
from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.budget import once
    from detoxmerge.train.finetune import finetune_shard
    from detoxmerge.train.launch import finetune_together

    recipe = snakemake.config["recipes"][snakemake.wildcards.recipe]
    several = {name: recipe[name] for name in ("processes", "nodes")}
    several["worker"] = Path(snakemake.scriptdir) / "finetune_worker.py"
    train = partial(finetune_together, **several) if recipe["strategy"] else finetune_shard
    arguments = {
        **{name: Path(path) for name, path in snakemake.input.items()},
        **{name: Path(path) for name, path in snakemake.output.items()},
        "shard": int(snakemake.wildcards.shard),
        "seed": int(snakemake.wildcards.seed),
        "protocol": snakemake.params.protocol,
        "checkpoint_minutes": recipe["checkpoint_minutes"],
        "device": snakemake.config["device"],
    }
    once(arguments["meta"], seconds_of(snakemake), partial(train, **arguments))
