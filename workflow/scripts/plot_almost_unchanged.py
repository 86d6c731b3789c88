"""Rule plot_almost_unchanged."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    import pandas as pd

    from detoxmerge.report.change_figures import almost_unchanged, chosen_scales, unchanged
    from detoxmerge.report.figures import draw

    changes, shards = (
        [Path(path) for path in paths]
        for paths in (snakemake.input.changes, snakemake.input.shards)
    )
    chosen = chosen_scales(pd.read_parquet(snakemake.input[0]), snakemake.wildcards.model)
    data = unchanged(changes, shards, chosen)
    draw(almost_unchanged, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
