"""Rule summarise."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.plan.grid import Grid
    from detoxmerge.plan.load import load_config
    from detoxmerge.report.summary import summarise

    summarise(
        Grid(load_config(snakemake.config)),
        out=Path(snakemake.output.summary),
        config_out=Path(snakemake.output.config),
    )
