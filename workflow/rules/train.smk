"""Training: the shards' fine-tunes, and base model and scorer of studies without a hub.

INPUTS   results/data/...   results/models/{model}/base/edit.json
OUTPUTS  results/models/{model}/{dataset}/shards/{recipe}/n{n}/shard{shard}/seed{seed}/
             meta.json  delta.safetensors  loss.csv
         results/models/{model}/pretrained/model.json   results/data/scorers/{scorer}/scorer.json
"""


rule pretrain_base:
    """Train a small base model and its tokenizer."""
    input:
        raw=lambda w: local_files(*CONFIG.models[w.model].pretrain.texts),
    output:
        PATHS.pretrained,
    log:
        PATHS.log(PATHS.pretrained),
    benchmark:
        PATHS.benchmark(PATHS.pretrained)
    wildcard_constraints:
        model=any_of(m for m, entry in CONFIG.models.items() if entry.pretrain),
    conda:
        "../../envs/detoxmerge.yaml"
    threads: CPUS
    resources:
        gpu=GPU,
        mem_mb=NEEDS.mem_mb("pretrain_base"),
        runtime=NEEDS.runtime("pretrain_base"),
    params:
        protocol=lambda w: PROTOCOL.pretrained(w.model),
    script:
        "../scripts/pretrain_base.py"


rule train_scorer:
    """Train a small toxicity scorer in Detoxify's checkpoint format."""
    input:
        raw=local_scorer,
    output:
        PATHS.scorer,
    log:
        PATHS.log(PATHS.scorer),
    benchmark:
        PATHS.benchmark(PATHS.scorer)
    wildcard_constraints:
        scorer=any_of(s for s, e in CONFIG.scorers.items() if e.rule == "train_scorer"),
    conda:
        "../../envs/detoxmerge.yaml"
    threads: CPUS
    resources:
        gpu=GPU,
        mem_mb=NEEDS.mem_mb("train_scorer"),
        runtime=NEEDS.runtime("train_scorer"),
    params:
        protocol=lambda w: PROTOCOL.scorer(w.scorer),
    script:
        "../scripts/train_scorer.py"


rule finetune_shard:
    """Fine-tune the base model on a shard, and keep the difference."""
    input:
        base=PATHS.base,
        dataset=PATHS.dataset,
        partition=PATHS.partition,
        toxic=ancient(PATHS.toxic),
    output:
        meta=PATHS.shard,
        delta=PATHS.shard_delta,
        loss=PATHS.shard_loss,
    log:
        PATHS.log(PATHS.shard, "finetune"),
    benchmark:
        PATHS.benchmark(PATHS.shard, "finetune")
    conda:
        "../../envs/detoxmerge.yaml"
    threads: lambda w: CPUS * recipe_of(w).processes // recipe_of(w).nodes
    resources:
        gpu=lambda w: GPU * recipe_of(w).processes,
        nodes=lambda w: recipe_of(w).nodes,
        # as Snakemake's SLURM plugin names them, for a job that starts its processes by srun
        mpi=lambda w: over_nodes(w, "srun"),
        tasks=lambda w: over_nodes(w, recipe_of(w).nodes),
        tasks_per_gpu=lambda w: over_nodes(w, 0),
        mem_mb=NEEDS.mem_mb("finetune_shard"),
        runtime=NEEDS.runtime("finetune_shard"),
    params:
        protocol=lambda w: PROTOCOL.shard(w.recipe),
    script:
        "../scripts/finetune_shard.py"
