"""From artefacts to an edit, by the method's file in detoxmerge/edit/methods. KIND and VERB of that
file pick the rule, and so the resources and which tensors are beside the manifest.

INPUTS   what the method's inputs() asks for
OUTPUTS  results/models/{model}/{dataset}/{method}/{setting}/seed{seed}/edit.json (+ tensors)
"""

from detoxmerge.plan.registry import VERBS, files_of_verb

# an edit that does not depend on a data set, or on a seed, has `-` in its path
SEGMENTS = {"dataset": any_of([*CONFIG.datasets, "-"]), "seed": f"{INDEX}|-"}
# verbs whose edits are only described: they have no tensors beside the manifest
DESCRIBED = [verb for verb in VERBS if not files_of_verb(verb)]


rule merge_edit:
    """Make an edit of the base model by the method's file."""
    input:
        base=PATHS.base,
        manifests=manifests,
        tensors=tensors,
    output:
        edit=PATHS.edit,
        delta=PATHS.edit.replace("edit.json", "delta.safetensors"),
    log:
        PATHS.log(PATHS.edit),
    benchmark:
        PATHS.benchmark(PATHS.edit)
    wildcard_constraints:
        **SEGMENTS,
        method=any_of(of_kind("merge")),
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=NEEDS.mem_mb("merge_edit"),
        runtime=NEEDS.runtime("merge_edit"),
    params:
        protocol=lambda w: PROTOCOL.edit(w.method, known_edit(w).params),
    script:
        "../scripts/merge_edit.py"


use rule merge_edit as train_edit with:
    wildcard_constraints:
        **SEGMENTS,
        method=any_of(of_kind("train")),
    threads: CPUS
    resources:
        gpu=GPU,
        mem_mb=NEEDS.mem_mb("train_edit"),
        runtime=NEEDS.runtime("train_edit"),


use rule merge_edit as fit_edit with:
    wildcard_constraints:
        **SEGMENTS,
        method=any_of(of_kind("fit", "delta")),
    threads: CPUS
    resources:
        gpu=GPU,
        mem_mb=NEEDS.mem_mb("fit_edit"),
        runtime=NEEDS.runtime("fit_edit"),


use rule fit_edit as fit_hooks with:
    output:
        edit=PATHS.edit,
        hooks=PATHS.edit.replace("edit.json", "hooks.safetensors"),
    wildcard_constraints:
        **SEGMENTS,
        method=any_of(of_kind("fit", "hooks")),


use rule merge_edit as describe_edit with:
    output:
        edit=PATHS.edit,
    wildcard_constraints:
        **SEGMENTS,
        method=any_of(name for verb in DESCRIBED for name in of_kind("fit", verb)),
    localrule: True
    resources:
        mem_mb=2000,
        runtime=30,
