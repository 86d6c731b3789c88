"""What report.smk reads and writes: its input functions, and each figure and table with its place
in the report.

INPUTS   the grid
OUTPUTS  FIGURES, TABLES for rule all; input functions and output files for report.smk
"""

from detoxmerge.errors import UserError
from detoxmerge.plan.exports import find_export
from detoxmerge.plan.registry import merged_shards

CATEGORIES = {  # of `snakemake --report`, and the titles in them, in reading order
    "1 What it costs": {
        "trade_off": "Perplexity against toxicity",
        "degradation_reduction": "Degradation reduction by toxicity",
    },
    "2 Tables": {
        "headline": "Degradation reduction",
        "main": "All edits",
        "seeds": "Spread over seeds",
    },
    "3 Over scale and N": {
        "toxicity": "Toxicity",
        "perplexity": "Perplexity",
    },
    "4 Parameters": {
        "parameter_change": "Parameter change",
        "almost_unchanged": "Almost unchanged parameters",
    },
    "5 Shards": {
        "training_loss": "Training loss",
        "shard_cosines": "Cosines between shards",
        "shard_snr": "Signal and noise of shards",
        "shard_subsets": "Means of k shards",
    },
}
# the page sorts by name, so each title has its number
PLACES = {
    subject: (category, f"{category.split()[0]}.{i} {title}")
    for category, titles in CATEGORIES.items()
    for i, (subject, title) in enumerate(titles.items(), start=1)
}


def told(path, subject, **labels):
    """A file that stands in the report, with its caption."""
    caption, (category, title) = f"../report/{subject}.rst", PLACES[subject]
    return report(path, caption=caption, category=category, labels={"shows": title} | labels)


def figure_files(figure):
    """The three files of a figure."""
    pattern = PATHS.figure.replace("{figure}", figure)
    files = {kind: f"{pattern}.{kind}" for kind in ("png", "pdf", "csv")}
    return files | {"png": told(files["png"], figure, model="{model}")}


def table_files(table):
    """The four files of a table."""
    csv = PATHS.table.format(table=table)
    kinds = {"markdown": "md", "latex": "tex", "html": "html"}
    files = {kind: csv.replace(".csv", f".{suffix}") for kind, suffix in kinds.items()}
    return {"csv": csv} | files | {"html": told(files["html"], table)}


def read_for_choice(wildcards):
    """What a selector reads."""
    return GRID.read_for_choice(wildcards.model, wildcards.edit, wildcards.selector)


def changes_of(wildcards):
    """change.json of every edit of a model."""
    return [
        PATHS.change.format(model=edit.model, edit=edit.edit)
        for edit in GRID.edits
        if edit.model == wildcards.model and METHODS[edit.method].VERB == "delta"
    ]


def change_tables_of(wildcards):
    """The tables beside them."""
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


def told_by_card(wildcards):
    """What a model card tells: measurements of edit and base, and a selector's choice of scale."""
    try:
        edit, scale = find_export(GRID, "{model}/{edit}/scale{scale}".format(**wildcards))
    except UserError as error:
        sys.exit(str(error))
    at = {"model": edit.model, "edit": edit.edit, "selector": scale}
    return {
        "measured": GRID.measurements(edit.model, edit.edit)
        + GRID.measurements(edit.model, "base"),
        "selected": [] if scale in GRID.scales_of_edit(edit.edit) else PATHS.selected.format(**at),
    }


DRAWN = ["trade_off", "degradation_reduction"]
if any(merged_shards(edit.method, edit.params) for edit in GRID.edits):  # figures over N
    DRAWN += ["toxicity", "perplexity", "parameter_change", "almost_unchanged"]
if GRID.fine_tunes:
    DRAWN += ["training_loss"]
if GRID.shard_sets:
    DRAWN += ["shard_subsets", "shard_snr", "shard_cosines"]
# `str` takes the caption off: rule all would render it, which has no wildcards
FIGURES = [
    str(path).format(model=model)
    for figure in DRAWN
    for model in CONFIG.run.models
    for path in figure_files(figure).values()
]
TABLES = [
    str(path) for table in ("main", "seeds", "headline") for path in table_files(table).values()
]
