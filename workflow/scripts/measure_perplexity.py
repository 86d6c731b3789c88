"""Rule measure_perplexity."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.perplexity import measure_perplexity
    from detoxmerge.storage.records import chosen_scales

    measure_perplexity(
        edit=Path(snakemake.input.edit),
        base=Path(snakemake.input.base),
        corpus=Path(snakemake.input.corpus),
        corpus_text=Path(snakemake.input.text),
        scales=chosen_scales(snakemake.params.scales, snakemake.input.choices),
        protocol=snakemake.params.protocol,
        batch_size=snakemake.config["corpora"][snakemake.wildcards.corpus]["batch_size"],
        device=snakemake.config["device"],
        out=Path(snakemake.output[0]),
    )
