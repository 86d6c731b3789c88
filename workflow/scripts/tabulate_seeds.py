"""Rule tabulate_seeds."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.plan.load import load_config
    from detoxmerge.report.spread import tabulate_seeds

    files = {kind: Path(path) for kind, path in snakemake.output.items()}
    tabulate_seeds(load_config(snakemake.config), Path(snakemake.input[0]), **files)
