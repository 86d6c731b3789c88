"""Detoxify a language model by arithmetic on its weights, and measure what that cost."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/edit.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/report_files.smk"
include: "workflow/rules/report.smk"


onstart:
    # with a rate limit, which Snakemake sets by default, each finished job leaves a timer behind
    # that looks for ready jobs every second: after a hundred jobs they take a fifth of a core
    workflow.scheduler.job_rate_limiter = None
    require_ready(os.getcwd(), requests())


onsuccess:
    say_what_memory_lacked()


onerror:
    say_what_memory_lacked()


rule all:
    default_target: True
    input:
        DRAWN,
        TABULATED,
        PATHS.summary,
        # every file by name: a job that fails takes its old output along, and Snakemake makes what
        # is missing in the middle again only if it is asked for
        list(expected_protocols(GRID)),
