"""The input functions of data.smk, train.smk, edit.smk and measure.smk.

INPUTS   the grid, and local files that the config names
OUTPUTS  input functions
"""

from detoxmerge.plan.local import files_of


def pretrained(wildcards):
    """The training of the base model, if this workflow trains it."""
    refuse_code_trigger()
    here = CONFIG.models[wildcards.model].pretrain
    return PATHS.pretrained.format(model=wildcards.model) if here else []


def local_files(*sources):
    """Local files of config entries; an entry is prepared again if one of them changes."""
    refuse_code_trigger()
    return [file for source in sources for file in files_of(source.local_paths())]


def local_model(wildcards):
    """The files of a base model in a local folder, since other weights are another model."""
    refuse_code_trigger()
    return files_of(CONFIG.models[wildcards.model].local_paths())


def local_finetune(wildcards):
    """The files of a fine-tune made elsewhere; ends with a sentence if the config has no such one."""
    refuse_code_trigger()
    tunes, index = CONFIG.models[wildcards.model].fine_tunes, int(wildcards.finetune)
    if index >= len(tunes):
        sys.exit(f"models.{wildcards.model}.fine_tunes has no entry {index}; add it there")
    return files_of(tunes[index].local_paths())


def local_scorer(wildcards):
    """The local files that a scorer is made from."""
    refuse_code_trigger()
    return files_of(CONFIG.scorers[wildcards.scorer].local_paths())


def raw(kind):
    """An input function that gives the local files of the entry of this kind."""
    wildcard = {"datasets": "dataset", "prompts": "prompts", "corpora": "corpus"}[kind]
    return lambda w: local_files(getattr(CONFIG, kind)[w[wildcard]])


def recipe_of(wildcards):
    """How a shard is fine-tuned."""
    return CONFIG.recipes[wildcards.recipe]


def over_nodes(wildcards, value):
    """A resource of fine-tunes that run on several nodes; None, which is unset, for all others."""
    return value if recipe_of(wildcards).nodes > 1 else None


def manifests(wildcards):
    """What a method asks for, as manifests: small, compared by checksum, with that of the tensors."""
    return GRID.inputs_of(known_edit(wildcards))


def tensors(wildcards):
    """The tensors of the fine-tunes and edits among them, which must exist; their date is ignored."""
    return [ancient(path) for path in GRID.tensors_read(known_edit(wildcards))]


def limited_by(wildcards):
    """The perplexities that decide at which scales an edit is sampled."""
    return GRID.limited_by(wildcards.model, wildcards.edit, wildcards.prompts)


def read_for_choice(wildcards):
    """The measurements that a selector reads."""
    return GRID.read_for_choice(wildcards.model, wildcards.edit, wildcards.selector)
