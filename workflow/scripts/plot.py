"""Rules plot_*: a figure by its own file in detoxmerge/report/figures."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.report.drawing import draw_figure
    from detoxmerge.report.inputs import Inputs, paths_by_name

    inputs = Inputs(paths_by_name(snakemake.input), snakemake.wildcards.model, snakemake.config)
    files = {kind: Path(path) for kind, path in snakemake.output.items()}
    draw_figure(snakemake.params.figure, inputs, **files)
