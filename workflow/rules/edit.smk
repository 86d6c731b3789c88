"""From artefacts to one edit, by the method's own file in detoxmerge/edit/methods. KIND and VERB of
that file pick the rule: what the job needs, and which tensors stand beside the manifest.

INPUTS   whatever the method's inputs() asks for
OUTPUTS  results/models/{model}/{dataset}/{method}/{setting}/seed{seed}/edit.json (+ tensors)
"""

from detoxmerge.plan.registry import VERBS, files_of_verb

# `-` stands in the path of an edit that depends on no data set, or on no seed
SEGMENTS = {"dataset": any_of([*CONFIG.datasets, "-"]), "seed": f"{INDEX}|-"}
# verbs whose edits are but described: they have no tensors beside the manifest
DESCRIBED = [verb for verb in VERBS if not files_of_verb(verb)]


rule merge_edit:
    """Make an edit of the base model by a method's own file."""
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
