"""Checks the config and builds the grid once; wildcard constraints and the shared input functions.

INPUTS   the config
OUTPUTS  CONFIG, GRID, PATHS, PROTOCOL for the other rule files
"""

import os
import sys
import time
from pathlib import Path

from snakemake.common.tbdstring import TBDString
from snakemake.path_modifier import PathModifier
from snakemake.settings.enums import RerunTrigger
from snakemake.sourcecache import HostingProviderFile, LocalSourceFile


def scripts_folder():
    """The folder of scripts and library: beside this one or, if Snakemake reads the workflow from a
    git host, in its source cache. Jobs look for them in the same place.
    """
    scripts = workflow.current_basedir.join("../scripts")
    if isinstance(scripts, LocalSourceFile):
        return os.path.normpath(scripts.get_path_or_uri(secret_free=True))
    if not isinstance(scripts, HostingProviderFile):
        sys.exit(
            f"detoxmerge cannot be imported from {scripts}; clone the repository and give the path "
            "of its workflow/Snakefile, or use github(...) or gitlab(...)"
        )
    listed = scripts.hosted_repo.repo.git.ls_tree("-r", "--name-only", scripts.ref, scripts.path)
    # Snakemake itself caches only those files that rules name
    for path in [*listed.splitlines(), "matplotlibrc"]:
        workflow.sourcecache.get_path(scripts.join(os.path.relpath(path, scripts.path)))
    return os.path.dirname(workflow.sourcecache.get_path(scripts.join("generate.py")))


sys.path.insert(0, scripts_folder())

from detoxmerge.errors import UserError, warn_once
from detoxmerge.plan.checks.results_folder import Where
from detoxmerge.plan.cluster import CLUSTER_JOB, memory_advice, require_ready
from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.plan.protocol import VERSION
from detoxmerge.plan.registry import METHODS, of_kind
from detoxmerge.plan.resources import Needs
from detoxmerge.plan.slug import INDEX, SETTING, any_of, edit_pattern

STARTED = time.time()
IMPORTED = not workflow.modifier.is_main_snakefile()
# in a module these belong to the importer, whose config is not this workflow's
COMMAND_LINE = {} if IMPORTED else workflow.config_settings.config
FILES = [] if IMPORTED else workflow.configfiles


def prefixed(results):
    """With the importer's prefix, which becomes part of `results`: scripts compute paths from the
    config.
    """
    whole = workflow.modifier.path_modifier.replace_prefix(f"{results}/")
    return os.path.normpath(whole) if IMPORTED else results


def place_of_run():
    """Where this workflow runs; None in its jobs, which find what it has written so far."""
    main = Path(workflow.main_snakefile).absolute().parent
    project = main.parent if main.name == "workflow" else main
    files = tuple(map(Path, FILES))
    return Where(Path.cwd(), (project,), files) if workflow.is_main_process else None


CONFIG = load_config(config, FILES, COMMAND_LINE, where=place_of_run(), prefixed=prefixed)
if IMPORTED:  # the local files that the config names must keep their paths
    workflow.modifier.path_modifier = PathModifier(None, None, workflow)
GRID = Grid(CONFIG)
PATHS, PROTOCOL = GRID.paths, GRID.protocol
NEEDS = Needs(CONFIG)
if workflow.is_main_process and GRID.limit_in_words:
    warn_once(f"detoxmerge: {GRID.limit_in_words}")
GPU, CPUS = (0, 1) if CONFIG.device == "cpu" else (1, 4)
if CONFIG.device == "cpu":
    # otherwise training spends a quarter of its time while glibc returns memory and asks for it again
    os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "-1")

# scripts read from here what does not affect numbers: device, batch sizes, checkpoint times; a new
# mapping, since the importer's is read again for each `use rule`
config = CONFIG.model_dump()
if workflow.remote_exec:
    os.environ[CLUSTER_JOB] = "1"  # tells scripts that their time is limited


def refuse_code_trigger():
    """Called while the DAG is built, since the triggers are unknown when this file is read."""
    if (
        not workflow.is_main_process
        or RerunTrigger.CODE not in workflow.dag_settings.rerun_triggers
    ):
        return
    sentence = (
        "The rerun trigger 'code' would train again after every git checkout; leave it out: "
        "--rerun-triggers mtime params input software-env, as profiles/default does."
    )
    if not IMPORTED:
        sys.exit(sentence)
    warn_once(f"detoxmerge: {sentence}")  # other rules of the importer may want it


def requests():
    """What the planned jobs would ask SLURM for, as far as existing files determine it."""
    jobs = [] if workflow.local_exec else workflow.dag.needrun_jobs()
    return [
        {"rule": job.rule.name, "threads": job.threads}
        | {k: v for k, v in job.resources.items() if not isinstance(v, TBDString)}
        for job in jobs
        if not job.is_local
    ]


def say_what_memory_lacked():
    """At the end of a run, advice about the jobs that SLURM ended for their memory."""
    if workflow.is_main_process and (advice := memory_advice(os.getcwd(), STARTED)):
        print(advice, file=sys.stderr)


def measured_together(wildcards):
    """One SLURM job generates, scores by the first scorer and judges; each step loads its model."""
    first = CONFIG.run.stages[GRID.stage_of(wildcards.prompts)].scorers[0]
    on_a_cluster = workflow.remote_exec or not workflow.local_exec
    return "measure" if on_a_cluster and getattr(wildcards, "scorer", first) == first else None


def turn(wildcards):
    """1 in that job, whose steps would otherwise run side by side and each ask for a GPU; else 0."""
    return 1 if measured_together(wildcards) else 0


# limits each SLURM job and not the whole run; registered here, since a job reads no profile
resource_scopes:
    turn="local",


workflow.register_resource("turn", 1)


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
    finetune=INDEX,
    scale=r"[^/]+",
    edit=rf"base|{EDIT}",


def of_every_shard(pattern, flag=str):
    """An input function that gives a file of each of the N fine-tunes."""
    return lambda w: [flag(pattern.format(shard=i, **w)) for i in range(int(w.n))]


def edit_and_base(wildcards):
    """What a measurement loads."""
    return {
        "edit": PATHS.any_edit.format(model=wildcards.model, edit=wildcards.edit),
        "base": PATHS.base.format(model=wildcards.model),
    }


def choices(wildcards):
    """What decides the scales of a set of the final stage once its job runs."""
    measured_on = wildcards.get("prompts") or wildcards.corpus
    scales = GRID.scales_of_stage(wildcards.edit, measured_on)
    return GRID.choices(wildcards.model, wildcards.edit) if scales is None else []


def known_edit(wildcards):
    """The edit that {edit} or the wildcards of its path name; ends with a sentence if it is unknown."""
    try:
        return GRID.find(wildcards)
    except UserError as error:
        sys.exit(str(error))


def edit_tensors(wildcards):
    """The tensors that loading an edit reads; the base has none."""
    tensors = [] if wildcards.edit == "base" else GRID.tensors_of(known_edit(wildcards))
    return [ancient(path) for path in tensors]
