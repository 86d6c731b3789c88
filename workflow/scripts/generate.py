"""Rule generate."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.generation import generate

    entry = snakemake.config["prompts"][snakemake.wildcards.prompts]
    generate(
        edit=Path(snakemake.input.edit),
        base=Path(snakemake.input.base),
        prompts=Path(snakemake.input.prompts),
        prompt_lines=Path(snakemake.input.lines),
        scales=snakemake.params.scales,
        protocol=snakemake.params.protocol,
        batch_size=entry["generate"]["batch_size"],
        device=snakemake.config["device"],
        out=Path(snakemake.output[0]),
    )
