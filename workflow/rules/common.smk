"""The config checked, the grid built once, what each wildcard may be, and the few input functions.

INPUTS   the config
OUTPUTS  CONFIG, GRID, PATHS, PROTOCOL for the other rule files
"""

import os
import sys
import time

from snakemake.common.tbdstring import TBDString
from snakemake.settings.enums import RerunTrigger

sys.path.insert(0, f"{workflow.basedir}/workflow/scripts")

from detoxmerge.plan.cluster import CLUSTER_JOB, memory_advice, require_ready
from detoxmerge.plan.files import expand_path, files_of_model, files_of_scorer
from detoxmerge.plan.config import load_config
from detoxmerge.plan.errors import UserError, nearest
from detoxmerge.plan.exports import find_export
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.methods import METHODS, of_kind
from detoxmerge.plan.protocol import VERSION
from detoxmerge.plan.resources import Needs
from detoxmerge.plan.slug import INDEX, SETTING, any_of, edit_pattern

STARTED = time.time()
CONFIG = load_config(config)
GRID = Grid(CONFIG)
PATHS, PROTOCOL = GRID.paths, GRID.protocol
NEEDS = Needs(CONFIG)
GPU, CPUS = (0, 1) if CONFIG.device == "cpu" else (1, 4)
if CONFIG.device == "cpu":
    # training spends a quarter of its time on memory that glibc gives back and asks for again
    os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "-1")

# scripts read from here what decides no number: device, batch sizes, checkpoint times
config.update(CONFIG.model_dump())
if workflow.remote_exec:
    os.environ[CLUSTER_JOB] = "1"  # scripts see it: their time is limited


def refuse_code_trigger():
    """Called while the DAG is built: the triggers are not known when this file is read."""
    if workflow.is_main_process and RerunTrigger.CODE in workflow.dag_settings.rerun_triggers:
        sys.exit(
            "The rerun trigger 'code' would train again after every git checkout; leave it out: "
            "--rerun-triggers mtime params input software-env, as profiles/default does."
        )


def requests():
    """What the planned jobs would ask SLURM for, as far as files that exist can tell."""
    jobs = [] if workflow.local_exec else workflow.dag.needrun_jobs()
    return [
        {"rule": job.rule.name, "threads": job.threads}
        | {k: v for k, v in job.resources.items() if not isinstance(v, TBDString)}
        for job in jobs
        if not job.is_local
    ]


def say_what_memory_lacked():
    """At the end of a run, for the jobs that SLURM ended."""
    if workflow.is_main_process and (advice := memory_advice(os.getcwd(), STARTED)):
        print(advice, file=sys.stderr)


def measured_together(wildcards):
    """One SLURM job generates, scores by the first scorer, and judges; each loads its own model."""
    first = CONFIG.run.stages[GRID.stage_of(wildcards.prompts)].scorers[0]
    on_a_cluster = workflow.remote_exec or not workflow.local_exec
    return "measure" if on_a_cluster and getattr(wildcards, "scorer", first) == first else None


def turn(wildcards):
    """In that job one at a time: side by side each would ask for a GPU. Elsewhere no limit."""
    return 1 if measured_together(wildcards) else 0


# of each SLURM job, not of the whole run; registered, as a job does not read the profile
resource_scopes:
    turn="local",


workflow.register_resource("turn", 1)


def recipe_of(wildcards):
    """How a shard is fine-tuned."""
    return CONFIG.recipes[wildcards.recipe]


def over_nodes(wildcards, value):
    """A value for fine-tunes that several nodes share; the resource is unset for all others."""
    return value if recipe_of(wildcards).nodes > 1 else None


EDIT = edit_pattern(CONFIG.datasets, METHODS)


wildcard_constraints:
    model=any_of(CONFIG.models),
    dataset=any_of(CONFIG.datasets),
    prompts=any_of(CONFIG.prompts),
    corpus=any_of(CONFIG.corpora),
    scorer=any_of(CONFIG.scorers),
    recipe=any_of(CONFIG.recipes),
    selector=any_of(CONFIG.selectors),
    method=any_of(METHODS),
    setting=SETTING,
    seed=INDEX,
    n=r"[1-9]\d*",
    shard=INDEX,
    scale=r"[^/]+",
    edit=rf"base|{EDIT}",


def edit_at(wildcards):
    """The edit behind an edit's wildcards, or a sentence for one that the study does not have."""
    try:
        return GRID.find(wildcards)
    except KeyError as error:
        sys.exit(
            f"{wildcards.method} has no setting '{wildcards.setting}' for {wildcards.model} in the "
            f"config; {nearest(wildcards.setting, error.args[0])}"
        )


def manifests(wildcards):
    """What a method asks for, as small manifests: compared by checksum, each naming its tensors'."""
    return GRID.inputs_of(edit_at(wildcards))


def tensors(wildcards):
    """The deltas beside those manifests: they must be there, but a newer date means nothing."""
    return [
        ancient(path.replace("meta.json", "delta.safetensors"))
        for path in manifests(wildcards)
        if "/shards/" in path
    ]


def pretrained(wildcards):
    """A base model that this workflow trains itself has to be trained first."""
    refuse_code_trigger()
    here = CONFIG.models[wildcards.model].pretrain
    return PATHS.pretrained.format(model=wildcards.model) if here else []


def local_files(*sources):
    """Local files of config entries, so that one that changes is prepared again."""
    refuse_code_trigger()
    return [expand_path(path) for source in sources for path in source.path or []]


def local_model(wildcards):
    """The files of a base model in a local folder: other weights there are another model."""
    refuse_code_trigger()
    return files_of_model(CONFIG.models[wildcards.model])


def local_checkpoint(wildcards):
    """The files of a scorer's local checkpoint."""
    refuse_code_trigger()
    return files_of_scorer(CONFIG.scorers[wildcards.scorer])


def raw(kind):
    """An input function: the local files of the entry of this kind that a wildcard names."""
    wildcard = {"datasets": "dataset", "prompts": "prompts", "corpora": "corpus"}[kind]
    return lambda w: local_files(getattr(CONFIG, kind)[w[wildcard]])


def of_every_shard(pattern, flag=str):
    """An input function: a file of each of the N fine-tunes."""
    return lambda w: [flag(pattern.format(shard=i, **w)) for i in range(int(w.n))]


def edit_and_base(wildcards):
    """What a measurement loads."""
    return {
        "edit": PATHS.any_edit.format(model=wildcards.model, edit=wildcards.edit),
        "base": PATHS.base.format(model=wildcards.model),
    }


def choices(wildcards):
    """What decides the scales of a set of the final stage, when its job runs."""
    measured_on = wildcards.get("prompts") or wildcards.corpus
    scales = GRID.scales_of(wildcards.edit, measured_on)
    return GRID.choices(wildcards.model, wildcards.edit) if scales is None else []


def read_for_choice(wildcards):
    """What a selector reads."""
    return GRID.read_for_choice(wildcards.model, wildcards.edit, wildcards.selector)


def edit_tensors(wildcards):
    """The vector of an edit; the base has none."""
    found = PATHS.any_edit.format(model=wildcards.model, edit=wildcards.edit)
    there = wildcards.edit != "base"
    return ancient(found.replace("edit.json", "delta.safetensors")) if there else []


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
        "selected": [] if scale in GRID.scales else PATHS.selected.format(**at),
    }


CATEGORIES = {  # of `snakemake --report`, in reading order
    "trade_off": "1 What it costs",
    "degradation_reduction": "1 What it costs",
    "headline": "2 Tables",
    "main": "2 Tables",
    "toxicity": "3 Over scale and N",
    "perplexity": "3 Over scale and N",
    "parameter_change": "4 Parameters",
    "almost_unchanged": "4 Parameters",
    "shard_subsets": "5 Shards",
    "shard_snr": "5 Shards",
    "shard_cosines": "5 Shards",
    "training_loss": "5 Shards",
}


def told(path, subject, **labels):
    """A file that stands in the report, with its caption."""
    caption, category = f"../report/{subject}.rst", CATEGORIES[subject]
    title = subject.replace("_", " ")
    return report(path, caption=caption, category=category, labels={"shows": title} | labels)


def figure_files(figure):
    """The three files of a figure."""
    pattern = PATHS.figure.replace("{figure}", figure)
    files = {kind: f"{pattern}.{kind}" for kind in ("png", "pdf", "csv")}
    return files | {"png": told(files["png"], figure, model="{model}")}


def changes_of(wildcards):
    """change.json of every edit of a model."""
    return [
        PATHS.change.format(model=edit.model, edit=edit.edit)
        for edit in GRID.edits
        if edit.model == wildcards.model
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


CHANGE_FIGURES = ["parameter_change", "almost_unchanged"]
if GRID.fine_tunes:
    CHANGE_FIGURES += ["training_loss"]
if GRID.shard_sets:
    CHANGE_FIGURES += ["shard_subsets", "shard_snr", "shard_cosines"]
FIGURES = [
    path.format(model=model)
    for figure in ("trade_off", "degradation_reduction", "toxicity", "perplexity", *CHANGE_FIGURES)
    for model in CONFIG.run.models
    for path in figure_files(figure).values()
]


def table_files(table):
    """The three files of a table."""
    csv = PATHS.table.format(table=table)
    kinds = {"markdown": "md", "latex": "tex"}
    files = {kind: csv.replace(".csv", f".{suffix}") for kind, suffix in kinds.items()}
    return {"csv": told(csv, table)} | files


TABLES = [path for table in ("main", "headline") for path in table_files(table).values()]
