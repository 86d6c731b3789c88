"""Rule parameter_change."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.change import parameter_change

    parameter_change(
        Path(snakemake.input.edit),
        Path(*snakemake.input.tensors),
        snakemake.params.protocol,
        out=Path(snakemake.output.manifest),
        table=Path(snakemake.output.table),
        workers=snakemake.threads,
    )
