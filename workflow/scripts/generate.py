"""Rule generate."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.generation import generate
    from detoxmerge.storage.records import chosen_scales

    entry = snakemake.config["prompts"][snakemake.wildcards.prompts]
    generate(
        edit=Path(snakemake.input.edit),
        base=Path(snakemake.input.base),
        prompts=Path(snakemake.input.prompts),
        prompt_lines=Path(snakemake.input.lines),
        scales=chosen_scales(snakemake.params.scales, snakemake.input.choices),
        protocol=snakemake.params.protocol,
        batch_size=entry["generate"]["batch_size"],
        device=snakemake.config["device"],
        out=Path(snakemake.output[0]),
        perplexities=[Path(path) for path in snakemake.input.perplexity],
        base_perplexities=[Path(path) for path in snakemake.input.base_perplexity],
    )
