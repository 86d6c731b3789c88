"""From measurements to what people read.

INPUTS   results/evals/...
OUTPUTS  results/summary.parquet   results/config.yaml
         results/figures/{toxicity,perplexity,parameter_change}-{model}.{png,pdf,csv}
         results/tables/main.{csv,md}
"""

FIGURES = expand(
    PATHS.figure + ".png",
    figure=["toxicity", "perplexity", "parameter_change"],
    model=CONFIG.run.models,
)


def figure_files(figure):
    """The three files of a figure, and its log."""
    pattern = PATHS.figure.replace("{figure}", figure)
    return {kind: f"{pattern}.{kind}" for kind in ("png", "pdf", "csv")}


def changes_of(wildcards):
    """change.json of every edit of a model."""
    return [
        PATHS.change.format(model=edit.model, edit=edit.edit)
        for edit in GRID.edits
        if edit.model == wildcards.model
    ]


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
    params:
        version=VERSION["summarise"],
        run=CONFIG.run.model_dump(),
    conda:
        "../../envs/detoxmerge.yaml"
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
    params:
        version=VERSION["plot"],
    conda:
        "../../envs/detoxmerge.yaml"
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
    params:
        version=VERSION["plot"],
    conda:
        "../../envs/detoxmerge.yaml"
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
    params:
        version=VERSION["plot"],
    conda:
        "../../envs/detoxmerge.yaml"
    script:
        "../scripts/plot_parameter_change.py"


rule tabulate:
    """The main table."""
    input:
        PATHS.summary,
    output:
        csv=PATHS.table + ".csv",
        markdown=PATHS.table + ".md",
    log:
        PATHS.log(PATHS.table + ".csv"),
    params:
        version=VERSION["tabulate"],
    conda:
        "../../envs/detoxmerge.yaml"
    script:
        "../scripts/tabulate.py"
