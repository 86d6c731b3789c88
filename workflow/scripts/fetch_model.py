"""Rule fetch_model."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake, online=True):
    from detoxmerge.models.loading import fetch_model

    pretrained = snakemake.input.get("pretrained")
    fetch_model(
        snakemake.wildcards.model,
        snakemake.params.protocol,
        Path(pretrained) if pretrained else None,
        Path(snakemake.output[0]),
    )
