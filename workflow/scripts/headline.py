"""Rule headline."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.plan.grid import Grid
    from detoxmerge.plan.load import load_config
    from detoxmerge.report.headline import headline

    headline(
        Grid(load_config(snakemake.config)),
        **{kind: Path(path) for kind, path in snakemake.output.items()},
    )
