"""Rule tabulate."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.tables import tabulate

    tabulate(
        Path(snakemake.input[0]),
        csv=Path(snakemake.output.csv),
        markdown=Path(snakemake.output.markdown),
    )
