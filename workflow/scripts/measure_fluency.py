"""Rule measure_fluency."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.fluency import measure_fluency

    entry = snakemake.config["prompts"][snakemake.wildcards.prompts]
    measure_fluency(
        Path(snakemake.input.generations),
        Path(snakemake.input.judge),
        protocol=snakemake.params.protocol,
        batch_size=entry["generate"]["batch_size"],
        device=snakemake.config["device"],
        out=Path(snakemake.output[0]),
    )
