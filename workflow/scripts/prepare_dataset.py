"""Rule prepare_dataset."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake, online=True):
    from detoxmerge.data.datasets import prepare_dataset

    prepare_dataset(
        snakemake.wildcards.dataset,
        snakemake.params.protocol,
        out=Path(snakemake.output.manifest),
        toxic=Path(snakemake.output.toxic),
        nontoxic=Path(snakemake.output.nontoxic),
    )
