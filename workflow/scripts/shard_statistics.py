"""Rule shard_statistics."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.shard_statistics import shard_statistics

    w = snakemake.wildcards
    shard_statistics(
        [Path(path) for path in snakemake.input.manifests],
        [Path(path) for path in snakemake.input.tensors],
        snakemake.params.protocol,
        {"dataset": w.dataset, "recipe": w.recipe, "n": int(w.n), "seed": w.seed},
        out=Path(snakemake.output.manifest),
        table=Path(snakemake.output.table),
    )
