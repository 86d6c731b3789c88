"""From measurements to what people read.

INPUTS   results/evals/...
OUTPUTS  results/summary.parquet   results/config.yaml   results/degradation_reduction.csv
         results/figures/{figure}-{model}.{png,pdf,csv}    a figure per file of detoxmerge/report/figures
         results/tables/{table}.{csv,md,tex,html}          a table per file of detoxmerge/report/tables
         results/exports/{model}/{edit}/scale{scale}/export.json (+ a Hugging Face folder)
"""


rule summarise:
    """Check that every measurement was made as the config says, and gather them."""
    input:
        GRID.results,
    output:
        summary=PATHS.summary,
        config=PATHS.config,
    log:
        PATHS.log(PATHS.summary),
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["summarise"],
        metrics=metric_functions(),
        run=CONFIG.run.model_dump(exclude={"exports"}),  # which the summary does not depend on
        statistics=CONFIG.statistics.model_dump(),
        thresholds={
            alias: CONFIG.scorers[alias].cutoffs
            for stage in CONFIG.run.stages.values()
            for alias in stage.scorers
        },
    script:
        "../scripts/summarise.py"


for figure, stated in FIGURES_STATED.items():

    rule:
        """Draw a figure, and write what it shows as a table."""
        name:
            f"plot_{figure}"
        input:
            unpack(inputs_needed(stated["NEEDS"])),
        output:
            **figure_files(figure),
        log:
            PATHS.log(figure_files(figure)["png"]),
        localrule: True
        conda:
            "../../envs/detoxmerge.yaml"
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            version=VERSION["plot"],
            figure=figure,
        script:
            "../scripts/plot.py"


for table, stated in TABLES_STATED.items():

    rule:
        """Make a table, in four formats."""
        name:
            f"tabulate_{table}"
        input:
            unpack(inputs_needed(stated["NEEDS"])),
        output:
            **table_files(table),
            **{name: getattr(PATHS, name) for name in stated["BESIDE"]},
        log:
            PATHS.log(table_files(table)["csv"]),
        localrule: True
        conda:
            "../../envs/detoxmerge.yaml"
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            version=stated["VERSION"],
            table=table,
            statistics=CONFIG.statistics.model_dump(),
        script:
            "../scripts/make_table.py"  # tabulate.py would shadow a package that torch imports


rule export_model:
    """Write an edited model as an ordinary Hugging Face folder, with its card."""
    input:
        unpack(edit_and_base),
        unpack(read_for_card),
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
