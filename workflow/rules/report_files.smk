"""What report.smk reads and writes: its input functions, and the files of each figure and table
with their place in the report.

INPUTS   the grid
OUTPUTS  DRAWN, TABULATED for rule all; input functions and output files for report.smk
"""

from detoxmerge.errors import UserError
from detoxmerge.plan.exports import find_export
from detoxmerge.plan.registry import FIGURES, TABLES, metric_functions

FIGURES_STATED = {name: FIGURES.constants(name) for name in FIGURES}
TABLES_STATED = {name: TABLES.constants(name) for name in TABLES}


def in_report(path, name, stated, **labels):
    """A file for the report, with its caption."""
    labels = {"shows": stated["TITLE"]} | labels
    return report(path, caption=f"../report/{name}.rst", category=stated["CATEGORY"], labels=labels)


def figure_files(figure):
    """The three files of a figure."""
    pattern = PATHS.figure.replace("{figure}", figure)
    files = {kind: f"{pattern}.{kind}" for kind in ("png", "pdf", "csv")}
    return files | {"png": in_report(files["png"], figure, FIGURES_STATED[figure], model="{model}")}


def table_files(table):
    """The four files of a table."""
    csv = PATHS.table.format(table=table)
    kinds = {"markdown": "md", "latex": "tex", "html": "html"}
    files = {kind: csv.replace(".csv", f".{suffix}") for kind, suffix in kinds.items()}
    return {"csv": csv} | files | {"html": in_report(files["html"], table, TABLES_STATED[table])}


def changes_of(wildcards):
    """change.json of every merged edit of a model."""
    return [
        PATHS.change.format(model=edit.model, edit=edit.edit)
        for edit in GRID.merged_edits
        if edit.model == wildcards.model
    ]


def change_tables_of(wildcards):
    """change.parquet, beside each of these."""
    return [path.replace(".json", ".parquet") for path in changes_of(wildcards)]


def shard_statistics_of(wildcards):
    """shards.json of every set of fine-tunes of a model."""
    return [
        PATHS.shard_statistics.format(**vars(shards))
        for shards in GRID.shard_sets
        if shards.model == wildcards.model
    ]


def losses_of(wildcards):
    """loss.csv of every fine-tune of a model."""
    return [
        PATHS.shard_loss.format(**vars(tune))
        for tune in GRID.fine_tunes
        if tune.model == wildcards.model
    ]


def read_for_card(wildcards):
    """What a model card is made from: measurements of edit and base, and a selector's choice."""
    try:
        edit, scale = find_export(GRID, "{model}/{edit}/scale{scale}".format(**wildcards))
    except UserError as error:
        sys.exit(str(error))
    chosen = PATHS.selected.format(model=edit.model, edit=edit.edit, selector=scale)
    return {
        "measured": GRID.measurements(edit.model, edit.edit)
        + GRID.measurements(edit.model, "base"),
        "selected": [] if scale in GRID.scales_of_edit(edit.edit) else chosen,
    }


READ_BY = {  # a name of NEEDS -> its files
    "summary": lambda w: PATHS.summary,
    "measured": lambda w: GRID.measured,
    "levels": lambda w: PATHS.levels,
    "changes": changes_of,
    "change_tables": change_tables_of,
    "shard_statistics": shard_statistics_of,
    "losses": losses_of,
}


def inputs_needed(needs):
    """An input function for `unpack`: what a figure or table needs, by name."""
    # always the summary, too: it refuses what was not made as the config says
    return lambda wildcards: {n: READ_BY[n](wildcards) for n in ("summary", *needs)}


# `str` removes the caption: rendered for `all`, it would lack its wildcards
DRAWN = [
    str(path).format(model=model)
    for figure, stated in FIGURES_STATED.items()
    if stated["ONLY_IF"] is None or getattr(GRID, stated["ONLY_IF"])
    for model in CONFIG.run.models
    for path in figure_files(figure).values()
]
TABULATED = [str(path) for table in TABLES_STATED for path in table_files(table).values()]
