"""Rules tabulate_*: a table by its own file in detoxmerge/report/tables."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.formats import write_table
    from detoxmerge.report.inputs import Inputs, paths_by_name

    inputs = Inputs(paths_by_name(snakemake.input), config=snakemake.config)
    files = {kind: Path(path) for kind, path in snakemake.output.items()}
    write_table(snakemake.params.table, inputs, **files)
