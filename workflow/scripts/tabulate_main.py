"""Rule tabulate."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.tables import tabulate

    files = {kind: Path(path) for kind, path in snakemake.output.items()}
    tabulate(Path(snakemake.input[0]), **files)
