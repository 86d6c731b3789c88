"""Rule plot_toxicity."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    import pandas as pd

    from detoxmerge.report.figures import draw, measured, toxicity

    summary = pd.read_parquet(snakemake.input[0])
    data = measured(summary, snakemake.wildcards.model, "toxicity_mean")
    draw(toxicity, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
