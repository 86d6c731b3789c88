"""From measurements to what people read.

INPUTS   results/evals/...
OUTPUTS  results/evals/{model}/{edit}/selected-{selector}.json
         results/summary.parquet   results/config.yaml   results/degradation_reduction.csv
         results/figures/{trade_off,degradation_reduction,toxicity,perplexity,parameter_change,
             almost_unchanged,training_loss,shard_subsets,shard_snr,shard_cosines}-{model}.{png,pdf,csv}
         results/tables/{main,seeds,headline}.{csv,md,tex,html}
         results/exports/{model}/{edit}/scale{scale}/export.json (+ a Hugging Face folder)
"""


localrules:
    select_scale,
    summarise,
    plot_toxicity,
    plot_perplexity,
    plot_parameter_change,
    plot_trade_off,
    plot_degradation_reduction,
    plot_almost_unchanged,
    plot_training_loss,
    plot_shard_subsets,
    plot_shard_snr,
    plot_shard_cosines,
    tabulate,
    tabulate_seeds,
    headline,


rule select_scale:
    """Choose scales of an edit by the sweep."""
    input:
        unpack(read_for_choice),
    output:
        PATHS.selected,
    log:
        PATHS.log(PATHS.selected),
    wildcard_constraints:
        edit=EDIT,
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        protocol=lambda w: PROTOCOL.selection(w.selector),
    script:
        "../scripts/select_scale.py"


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
        run=CONFIG.run.model_dump(exclude={"exports"}),  # they are made from other files
        statistics=CONFIG.statistics.model_dump(),
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
    """Distribution of |delta| beside its nulls."""
    input:
        PATHS.summary,
        changes=changes_of,
        tables=change_tables_of,
        shards=shard_statistics_of,
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


rule plot_almost_unchanged:
    """Almost unchanged share over N beside its nulls."""
    input:
        PATHS.summary,
        changes=changes_of,
        shards=shard_statistics_of,
    output:
        **figure_files("almost_unchanged"),
    log:
        PATHS.log(figure_files("almost_unchanged")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_almost_unchanged.py"


rule plot_training_loss:
    """Training loss of every fine-tune."""
    input:
        PATHS.summary,
        losses=losses_of,
    output:
        **figure_files("training_loss"),
    log:
        PATHS.log(figure_files("training_loss")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_training_loss.py"


rule plot_shard_subsets:
    """Almost unchanged share over the number of averaged shards."""
    input:
        PATHS.summary,
        shards=shard_statistics_of,
    output:
        **figure_files("shard_subsets"),
    log:
        PATHS.log(figure_files("shard_subsets")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_shard_subsets.py"


rule plot_shard_snr:
    """Signal-to-noise ratio of the shards' vectors by layer and module type."""
    input:
        PATHS.summary,
        shards=shard_statistics_of,
    output:
        **figure_files("shard_snr"),
    log:
        PATHS.log(figure_files("shard_snr")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_shard_snr.py"


rule plot_shard_cosines:
    """Cosines between the shards' vectors."""
    input:
        PATHS.summary,
        shards=shard_statistics_of,
    output:
        **figure_files("shard_cosines"),
    log:
        PATHS.log(figure_files("shard_cosines")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_shard_cosines.py"


rule tabulate:
    """The main table."""
    input:
        PATHS.summary,
    output:
        **table_files("main"),
    log:
        PATHS.log(table_files("main")["csv"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["tabulate"],
    script:
        "../scripts/tabulate_main.py"  # tabulate.py would hide a package that torch imports


rule tabulate_seeds:
    """Mean and spread over training and generation seeds."""
    input:
        PATHS.summary,
    output:
        **table_files("seeds"),
    log:
        PATHS.log(table_files("seeds")["csv"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["tabulate_seeds"],
    script:
        "../scripts/tabulate_seeds.py"


rule headline:
    """Degradation reduction at matched toxicity, with intervals."""
    input:
        PATHS.summary,
        GRID.measured,
    output:
        **table_files("headline"),
        levels=PATHS.levels,
    log:
        PATHS.log(table_files("headline")["csv"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=VERSION["headline"],
        statistics=CONFIG.statistics.model_dump(),
    script:
        "../scripts/headline.py"


rule plot_trade_off:
    """Perplexity against toxicity: every method and N over its scales."""
    input:
        PATHS.summary,
    output:
        **figure_files("trade_off"),
    log:
        PATHS.log(figure_files("trade_off")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_trade_off.py"


rule plot_degradation_reduction:
    """Degradation reduction against the toxicity that is matched."""
    input:
        PATHS.levels,
    output:
        **figure_files("degradation_reduction"),
    log:
        PATHS.log(figure_files("degradation_reduction")["png"]),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["plot"],
    script:
        "../scripts/plot_degradation_reduction.py"


rule export_model:
    """Write an edited model as an ordinary Hugging Face folder, with its card."""
    input:
        unpack(edit_and_base),
        unpack(told_by_card),
        tensors=edit_tensors,
    output:
        PATHS.export,
    log:
        PATHS.log(PATHS.export),
    benchmark:
        PATHS.benchmark(PATHS.export)
    wildcard_constraints:
        edit=EDIT,
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=NEEDS.mem_mb("export_model"),
        runtime=NEEDS.runtime("export_model"),
    params:
        protocol=PROTOCOL.export(),
    script:
        "../scripts/export_model.py"
