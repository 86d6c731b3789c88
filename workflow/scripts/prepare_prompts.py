"""Rule prepare_prompts."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake, online=True):
    from detoxmerge.data.texts import prepare_prompts

    prepare_prompts(
        snakemake.wildcards.prompts,
        snakemake.params.protocol,
        out=Path(snakemake.output.manifest),
        lines=Path(snakemake.output.lines),
    )
