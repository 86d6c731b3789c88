"""Rule plot_parameter_change."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.figures import changes, draw, parameter_change

    data = changes([Path(path) for path in snakemake.input.changes])
    draw(parameter_change, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
