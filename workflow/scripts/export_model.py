"""Rule export_model."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.plan.grid import Grid
    from detoxmerge.plan.load import load_config
    from detoxmerge.report.export import export_model

    name = "{model}/{edit}/scale{scale}".format(**snakemake.wildcards)
    export_model(Grid(load_config(snakemake.config)), name, Path(snakemake.output[0]))
