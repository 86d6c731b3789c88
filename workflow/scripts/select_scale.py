"""Rule select_scale."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.selection import select_scale

    select_scale(
        {name: Path(path) for name, path in snakemake.input.items()},
        snakemake.params.protocol,
        out=Path(snakemake.output[0]),
    )
