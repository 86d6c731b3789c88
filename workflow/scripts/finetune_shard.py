"""Rule finetune_shard."""

from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.budget import once
    from detoxmerge.train.finetune import finetune_shard

    recipe = snakemake.config["recipes"][snakemake.wildcards.recipe]
    arguments = {
        **{name: Path(path) for name, path in snakemake.input.items()},
        **{name: Path(path) for name, path in snakemake.output.items()},
        "shard": int(snakemake.wildcards.shard),
        "seed": int(snakemake.wildcards.seed),
        "protocol": snakemake.params.protocol,
        "checkpoint_minutes": recipe["checkpoint_minutes"],
        "device": snakemake.config["device"],
    }
    once(
        arguments["meta"],
        seconds_of(snakemake),
        lambda budget: finetune_shard(**arguments, budget=budget),
    )
