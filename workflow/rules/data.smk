"""Everything that comes from outside. Only these rules use the internet: they run where Snakemake
itself runs, and not as cluster jobs.

INPUTS   the catalogue of the config; local files that it names
OUTPUTS  results/data/{datasets,prompts,corpora,scorers}/...   results/models/{model}/base/edit.json
         results/models/{model}/-/finetunes/given{finetune}/meta.json
"""


rule fetch_model:
    """Find the base model, check it, and write its manifest, which is an edit that changes nothing."""
    input:
        pretrained=pretrained,
        local=local_model,
    output:
        PATHS.base,
    log:
        PATHS.log(PATHS.base),
    benchmark:
        PATHS.benchmark(PATHS.base)
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        protocol=lambda w: PROTOCOL.base(w.model),
    script:
        "../scripts/fetch_model.py"


rule fetch_finetune:
    """Find a fine-tune made elsewhere, check that it belongs to its base, and write its manifest."""
    input:
        base=PATHS.base,
        local=local_finetune,
    output:
        PATHS.given_finetune,
    log:
        PATHS.log(PATHS.given_finetune),
    benchmark:
        PATHS.benchmark(PATHS.given_finetune)
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        protocol=lambda w: PROTOCOL.given_finetune(w.model, int(w.finetune)),
    script:
        "../scripts/fetch_finetune.py"


rule fetch_scorer:
    """Find a toxicity scorer, check that it loads, and write its manifest."""
    input:
        local=local_scorer,
    output:
        PATHS.scorer,
    log:
        PATHS.log(PATHS.scorer),
    benchmark:
        PATHS.benchmark(PATHS.scorer)
    wildcard_constraints:
        scorer=any_of(s for s, e in CONFIG.scorers.items() if e.rule == "fetch_scorer"),
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        protocol=lambda w: PROTOCOL.scorer(w.scorer),
    script:
        "../scripts/fetch_scorer.py"


rule prepare_dataset:
    """Split a labelled data set into its toxic and its non-toxic part."""
    input:
        raw=raw("datasets"),
    output:
        manifest=PATHS.dataset,
        toxic=PATHS.toxic,
        nontoxic=PATHS.nontoxic,
    log:
        PATHS.log(PATHS.dataset),
    benchmark:
        PATHS.benchmark(PATHS.dataset)
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        protocol=lambda w: PROTOCOL.dataset(w.dataset),
    script:
        "../scripts/prepare_dataset.py"


rule split_dataset:
    """Partition the toxic part into N shards."""
    input:
        dataset=PATHS.dataset,
        toxic=ancient(PATHS.toxic),
    output:
        PATHS.partition,
    log:
        PATHS.log(PATHS.partition),
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        protocol=PROTOCOL.partition(),
    script:
        "../scripts/split_dataset.py"


rule prepare_prompts:
    """Choose the prompts to be continued."""
    input:
        raw=raw("prompts"),
    output:
        manifest=PATHS.prompts,
        lines=PATHS.prompt_lines,
    log:
        PATHS.log(PATHS.prompts),
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        protocol=lambda w: PROTOCOL.prompts(w.prompts),
    script:
        "../scripts/prepare_prompts.py"


rule prepare_corpus:
    """Join the texts whose perplexity is measured."""
    input:
        raw=raw("corpora"),
    output:
        manifest=PATHS.corpus,
        text=PATHS.corpus_text,
    log:
        PATHS.log(PATHS.corpus),
    localrule: True
    conda:
        "../../envs/detoxmerge.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        protocol=lambda w: PROTOCOL.corpus(w.corpus),
    script:
        "../scripts/prepare_corpus.py"
