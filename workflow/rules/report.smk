"""From measurements to what people read.

INPUTS   results/evals/...
OUTPUTS  results/summary.parquet   results/config.yaml
         results/figures/{toxicity,perplexity,parameter_change}-{model}.{png,pdf,csv}
         results/tables/main.{csv,md}
"""


localrules:
    summarise,
    plot_toxicity,
    plot_perplexity,
    plot_parameter_change,
    tabulate,


rule summarise:
    """Check that every measurement was made as the config says, and gather them."""
    input:
        GRID.results,
    output:
        summary=PATHS.summary,
        config=PATHS.config,
    log:
        PATHS.log(PATHS.summary),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["summarise"],
        run=CONFIG.run.model_dump(),
    script:
        "../scripts/summarise.py"


rule plot_toxicity:
    """Mean toxicity over scale and N."""
    input:
        PATHS.summary,
    output:
        **figure_files("toxicity"),
    log:
        PATHS.log(figure_files("toxicity")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_toxicity.py"


rule plot_perplexity:
    """Perplexity per token over scale and N."""
    input:
        PATHS.summary,
    output:
        **figure_files("perplexity"),
    log:
        PATHS.log(figure_files("perplexity")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_perplexity.py"


rule plot_parameter_change:
    """Distribution of |delta| and the almost unchanged share over N."""
    input:
        PATHS.summary,
        changes=changes_of,
    output:
        **figure_files("parameter_change"),
    log:
        PATHS.log(figure_files("parameter_change")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_parameter_change.py"


rule tabulate:
    """The main table."""
    input:
        PATHS.summary,
    output:
        **TABLES,
    log:
        PATHS.log(PATHS.table),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["tabulate"],
    script:
        "../scripts/tabulate_main.py"  # tabulate.py would hide a package that torch imports
