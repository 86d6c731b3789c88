"""Rule prepare_corpus."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake, online=True):
    from detoxmerge.data.texts import prepare_corpus

    prepare_corpus(
        snakemake.wildcards.corpus,
        snakemake.params.protocol,
        out=Path(snakemake.output.manifest),
        text_file=Path(snakemake.output.text),
    )
