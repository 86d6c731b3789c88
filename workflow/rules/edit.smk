"""From artefacts to one edit, by the method's own file in detoxmerge/edit/methods.

INPUTS   whatever the method's inputs() asks for
OUTPUTS  results/models/{model}/{dataset}/{method}/{setting}/seed{seed}/edit.json (+ tensors)
"""


rule merge_edit:
    """Merge the shards' task vectors into one."""
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
        method=any_of(of_kind("merge")),
        dataset=any_of([*CONFIG.datasets, "-"]),
        seed=f"{INDEX}|-",
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=NEEDS.mem_mb("merge_edit"),
        runtime=NEEDS.runtime("merge_edit"),
    params:
        protocol=lambda w: PROTOCOL.edit(w.method, edit_at(w).params),
    script:
        "../scripts/merge_edit.py"
