"""Rule measure_cost."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.measure.cost import measure_cost

    alias = snakemake.config["run"]["sweep"]["prompts"][0]
    measure_cost(
        edit=Path(snakemake.input.edit),
        base=Path(snakemake.input.base),
        prompts=Path(snakemake.input.prompts),
        prompt_lines=Path(snakemake.input.lines),
        protocol=snakemake.params.protocol,
        batch_size=snakemake.config["prompts"][alias]["generate"]["batch_size"],
        device=snakemake.config["device"],
        benchmarks=[Path(path) for path in snakemake.params.benchmarks],
        out=Path(snakemake.output[0]),
    )
