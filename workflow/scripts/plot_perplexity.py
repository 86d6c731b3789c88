"""Rule plot_perplexity."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    import pandas as pd

    from detoxmerge.report.figures import draw, measured, perplexity

    summary = pd.read_parquet(snakemake.input[0])
    data = measured(summary, snakemake.wildcards.model, "perplexity_per_token")
    draw(perplexity, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
