"""Rule split_dataset."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.data.datasets import split_dataset

    split_dataset(
        Path(snakemake.input.dataset),
        int(snakemake.wildcards.n),
        snakemake.params.protocol,
        out=Path(snakemake.output[0]),
    )
