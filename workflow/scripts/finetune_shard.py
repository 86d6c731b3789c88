"""Rule finetune_shard."""

from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.train.finetune import finetune_shard

    recipe = snakemake.config["recipes"][snakemake.wildcards.recipe]
    finetune_shard(
        **{name: Path(path) for name, path in snakemake.input.items()},
        shard=int(snakemake.wildcards.shard),
        seed=int(snakemake.wildcards.seed),
        protocol=snakemake.params.protocol,
        checkpoint_minutes=recipe["checkpoint_minutes"],
        device=snakemake.config["device"],
        seconds=seconds_of(snakemake),
        **{name: Path(path) for name, path in snakemake.output.items()},
    )
