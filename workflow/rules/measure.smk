"""What an edit does at its scales. Knows nothing of methods: {edit} is `base` or
{dataset}/{method}/{setting}/seed{seed}.

One job loads the model once and measures every scale. Each scale has a separate record beside the
output, with the key of what made it, so a job that runs again measures only what is missing. Speed
is measured at one scale.

INPUTS   results/models/{model}/{edit}/edit.json   results/data/...
OUTPUTS  results/evals/{model}/{edit}/{prompts}/{generations,toxicity-{scorer},fluency}.json
         results/evals/{model}/{edit}/{corpus}/perplexity.json   .../{edit}/{change,cost}.json
         results/evals/{model}/{dataset}/shards/{recipe}/n{n}/seed{seed}/shards.json
         results/evals/{model}/{edit}/selected-{selector}.json
"""


rule generate:
    """Sample continuations of the prompts of a set."""
    input:
        unpack(edit_and_base),
        unpack(limited_by),
        prompts=PATHS.prompts,
        lines=ancient(PATHS.prompt_lines),
        tensors=edit_tensors,
        choices=choices,
    output:
        PATHS.generations,
    log:
        PATHS.log(PATHS.generations),
    benchmark:
        PATHS.benchmark(PATHS.generations)
    group:
        measured_together
    conda:
        "../../envs/detoxmerge.yaml"
    threads: CPUS
    resources:
        gpu=GPU,
        mem_mb=NEEDS.mem_mb("generate"),
        runtime=NEEDS.runtime("generate"),
    params:
        scales=lambda w: GRID.scales_of_stage(w.edit, w.prompts),
        protocol=lambda w: PROTOCOL.generate(w.model, w.prompts, w.edit),
    script:
        "../scripts/generate.py"


rule score_toxicity:
    """Score the toxicity of the continuations."""
    input:
        generations=PATHS.generations,
        scorer=PATHS.scorer,
    output:
        PATHS.toxicity,
    log:
        PATHS.log(PATHS.toxicity),
    benchmark:
        PATHS.benchmark(PATHS.toxicity)
    group:
        measured_together
    conda:
        "../../envs/detoxmerge.yaml"
    threads: CPUS
    resources:
        gpu=GPU,
        turn=turn,
        mem_mb=NEEDS.mem_mb("score_toxicity"),
        runtime=NEEDS.runtime("score_toxicity"),
    params:
        protocol=lambda w: PROTOCOL.toxicity(w.scorer),
    script:
        "../scripts/score_toxicity.py"


rule measure_fluency:
    """Measure conditional perplexity, diversity, repetition and length of the continuations."""
    input:
        generations=PATHS.generations,
        judge=lambda w: PATHS.base.format(model=CONFIG.run.judge_of(w.model)),
    output:
        PATHS.fluency,
    log:
        PATHS.log(PATHS.fluency),
    benchmark:
        PATHS.benchmark(PATHS.fluency)
    group:
        measured_together
    conda:
        "../../envs/detoxmerge.yaml"
    threads: CPUS
    resources:
        gpu=GPU,
        turn=turn,
        mem_mb=NEEDS.mem_mb("measure_fluency"),
        runtime=NEEDS.runtime("measure_fluency"),
    params:
        protocol=lambda w: PROTOCOL.fluency(w.model),
    script:
        "../scripts/measure_fluency.py"


rule measure_perplexity:
    """Measure the perplexity per token of a corpus."""
    input:
        unpack(edit_and_base),
        corpus=PATHS.corpus,
        text=ancient(PATHS.corpus_text),
        tensors=edit_tensors,
        choices=choices,
    output:
        PATHS.perplexity,
    log:
        PATHS.log(PATHS.perplexity),
    benchmark:
        PATHS.benchmark(PATHS.perplexity)
    conda:
        "../../envs/detoxmerge.yaml"
    threads: CPUS
    resources:
        gpu=GPU,
        mem_mb=NEEDS.mem_mb("measure_perplexity"),
        runtime=NEEDS.runtime("measure_perplexity"),
    params:
        scales=lambda w: GRID.scales_of_stage(w.edit, w.corpus),
        protocol=lambda w: PROTOCOL.perplexity(w.model, w.corpus),
    script:
        "../scripts/measure_perplexity.py"


rule parameter_change:
    """Measure how far an edit's vector moves the parameters: histogram, shares and norms."""
    input:
        edit=PATHS.any_edit,
        tensors=edit_tensors,
    output:
        manifest=PATHS.change,
        table=PATHS.change.replace(".json", ".parquet"),
    log:
        PATHS.log(PATHS.change),
    benchmark:
        PATHS.benchmark(PATHS.change)
    wildcard_constraints:
        edit=EDIT,
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=NEEDS.mem_mb("parameter_change"),
        runtime=NEEDS.runtime("parameter_change"),
    params:
        protocol=PROTOCOL.change(),
    script:
        "../scripts/parameter_change.py"


rule measure_cost:
    """Measure the speed of an edit's generation and of the base's, and count what else it needs."""
    input:
        unpack(edit_and_base),
        prompts=PATHS.prompts.format(prompts=CONFIG.run.sweep.prompts[0]),
        lines=ancient(PATHS.prompt_lines.format(prompts=CONFIG.run.sweep.prompts[0])),
        tensors=edit_tensors,
    output:
        PATHS.cost,
    log:
        PATHS.log(PATHS.cost),
    benchmark:
        PATHS.benchmark(PATHS.cost)
    wildcard_constraints:
        edit=EDIT,
    conda:
        "../../envs/detoxmerge.yaml"
    threads: CPUS
    resources:
        gpu=GPU,
        mem_mb=NEEDS.mem_mb("measure_cost"),
        runtime=NEEDS.runtime("measure_cost"),
    params:
        protocol=lambda w: PROTOCOL.cost(w.model, GRID.cost_scale(w.edit)),
        # not inputs, or training would run again when such a file is lost
        benchmarks=lambda w: GRID.benchmarks_of(known_edit(w)),
    script:
        "../scripts/measure_cost.py"


rule shard_statistics:
    """Measure signal, noise and agreement of the shards' task vectors."""
    input:
        base=PATHS.base,
        manifests=of_every_shard(PATHS.shard),
        tensors=of_every_shard(PATHS.shard_delta, ancient),
    output:
        manifest=PATHS.shard_statistics,
        table=PATHS.shard_statistics.replace(".json", ".parquet"),
    log:
        PATHS.log(PATHS.shard_statistics),
    benchmark:
        PATHS.benchmark(PATHS.shard_statistics)
    wildcard_constraints:
        n=r"[2-9]|[1-9]\d+",
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=NEEDS.mem_mb("shard_statistics"),
        runtime=NEEDS.runtime("shard_statistics"),
    params:
        protocol=PROTOCOL.shard_statistics(),
    script:
        "../scripts/shard_statistics.py"


rule select_scale:
    """Choose scales of an edit by what the sweep measured."""
    input:
        unpack(read_for_choice),
    output:
        PATHS.selected,
    log:
        PATHS.log(PATHS.selected),
    wildcard_constraints:
        edit=EDIT,
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        protocol=lambda w: PROTOCOL.selection(w.selector),
    script:
        "../scripts/select_scale.py"
