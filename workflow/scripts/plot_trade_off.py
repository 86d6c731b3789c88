"""Rule plot_trade_off."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    import pandas as pd

    from detoxmerge.report.comparison_figures import points, trade_off
    from detoxmerge.report.figures import draw

    data = points(pd.read_parquet(snakemake.input[0]), snakemake.wildcards.model)
    draw(trade_off, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
