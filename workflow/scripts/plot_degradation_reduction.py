"""Rule plot_degradation_reduction."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    import pandas as pd

    from detoxmerge.report.comparison_figures import degradation_reduction
    from detoxmerge.report.figures import draw

    levels = pd.read_csv(snakemake.input[0])
    data = levels[levels["model"] == snakemake.wildcards.model]
    files = {kind: Path(path) for kind, path in snakemake.output.items()}
    draw(degradation_reduction, data, **files)
