"""Rule fetch_model."""

from functools import partial
from pathlib import Path

from detoxmerge.session import session

with session(snakemake, online=True):
    from detoxmerge.models.loading import fetch_model
    from detoxmerge.plan.checks.sizes import require_context
    from detoxmerge.plan.grid import Grid
    from detoxmerge.plan.load import load_config

    pretrained = snakemake.input.get("pretrained")
    fetch_model(
        snakemake.wildcards.model,
        snakemake.params.protocol,
        Path(pretrained) if pretrained else None,
        Path(snakemake.output[0]),
        partial(require_context, Grid(load_config(snakemake.config)), snakemake.wildcards.model),
    )
