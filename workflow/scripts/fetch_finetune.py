"""Rule fetch_finetune."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake, online=True):
    from detoxmerge.merge.made_elsewhere import fetch_finetune

    w = snakemake.wildcards
    fetch_finetune(
        f"models.{w.model}.fine_tunes.{w.finetune}",
        snakemake.params.protocol,
        base=Path(snakemake.input.base),
        out=Path(snakemake.output[0]),
    )
