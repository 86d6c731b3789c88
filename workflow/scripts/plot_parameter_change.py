"""Rule plot_parameter_change."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.change_figures import densities, parameter_change
    from detoxmerge.report.figures import draw

    changes, shards = (
        [Path(path) for path in paths]
        for paths in (snakemake.input.changes, snakemake.input.shards)
    )
    data = densities(changes, shards)
    draw(parameter_change, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
