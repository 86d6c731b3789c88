"""Rule score_toxicity."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.toxicity import score_toxicity

    score_toxicity(
        Path(snakemake.input.generations),
        Path(snakemake.input.scorer),
        protocol=snakemake.params.protocol,
        batch_size=snakemake.config["scorers"][snakemake.wildcards.scorer]["batch_size"],
        device=snakemake.config["device"],
        out=Path(snakemake.output[0]),
    )
