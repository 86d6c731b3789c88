"""A finished study: manifests written by hand, as each stage would; nothing is measured."""

from pathlib import Path

import numpy as np
import pandas as pd
from plan import studies

from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.storage.artefacts import write_manifest
from detoxmerge.storage.records import each_scale, record_path

WHY = "ppl_ratio 1.83 > 1.5 on polite"  # of what a study with a limit leaves out
LIMITED = {"run.sweep.within": {"ppl_ratio": 1.5}}


def grid(changes=None):
    """The smallest study; `changes` are dotted places and their new values."""
    return Grid(load_config(studies.study(changes)))


def toxicity(edit, scale):
    """A number that tells its edit and scale."""
    return 0.5 if edit == "base" else 0.5 / (1 + float(scale) * (1 if "n=1" in edit else 2))


def write(study):
    """Every manifest of a study, in the order that its stages would."""
    p, expected = study.paths, expected_protocols(study)

    def manifest(pattern, *inputs, at, **content):
        path = pattern.format(**at)
        made_from = [source.format(**at) for source in inputs]
        write_manifest(path, protocol=expected[path], inputs=made_from, files={}, **content)
        return path

    data = {"dataset": "rude", "prompts": "openings", "corpus": "polite", "scorer": "judge"}
    for pattern in (p.dataset, p.prompts, p.corpus, p.scorer):
        manifest(pattern, at=data)
    manifest(p.pretrained, at={"model": "small"})
    manifest(p.base, p.pretrained, at={"model": "small"})
    measure(study, "base", data)
    for edit in study.edits:
        at = data | vars(edit) | {"recipe": "default", "n": edit.params.n, "edit": edit.edit}
        if edit.dataset != "-":
            manifest(p.partition, p.dataset, at=at)
        for shard in range(edit.params.n):
            at_shard = at | {"shard": shard, "finetune": shard}
            if edit.dataset == "-":
                manifest(p.given_finetune, p.base, at=at_shard)
            else:
                manifest(p.shard, p.base, p.dataset, p.partition, at=at_shard)
        manifest(p.edit, p.base, *study.inputs_of(edit), at=at)
        shares = {"below_1e-06": 0.25}
        norms = {"l1_norm": 3, "l2_norm": 2.0, "max_abs": 1.0}
        counts = {"num_elements": 8, "num_structural_zeros": 1, "num_exact_zeros": 2}
        numbers = norms | counts | {"almost_unchanged_share": shares}
        manifest(p.change, p.edit, at=at, **numbers)
        manifest(p.cost, p.edit, p.base, p.prompts, at=at, scale="1", **costs(edit.params.n))
        measure(study, edit.edit, data)
    for shards in study.shard_sets:
        tunes = [tune for tune in study.fine_tunes if tune.shards == shards]
        inputs = [p.shard.format(**vars(tune)) for tune in tunes]
        manifest(p.shard_statistics, *inputs, at=vars(shards))


def costs(n):
    """What cost.json has; nobody knows the training time of N = 1."""
    return {
        "tokens_per_second": 90.0,
        "base_tokens_per_second": 100.0,
        "tokens_per_second_over_base": 0.9,
        "forward_passes_per_token": 1.0,
        "extra_forward_passes_per_token": 0.0,
        "extra_memory_mb": 1.5,
        "training_seconds": None if n == 1 else 60.0,
    }


def measure(study, edit, data, scales=None):
    """Generations, toxicity, fluency and perplexity of an edit."""
    p, at = study.paths, data | {"model": "small", "edit": edit}
    made, base, generations = (x.format(**at) for x in (p.any_edit, p.base, p.generations))
    edits = [made] if edit == "base" else [made, base]
    stages = {
        generations: ([*edits, p.prompts], lambda scale: {"num_prompts": 3}),
        p.toxicity.format(**at): ([generations, p.scorer], lambda scale: {"num_failed": 0}),
        p.fluency.format(**at): ([generations, base], lambda scale: {}),
        p.perplexity.format(**at): ([*edits, p.corpus], lambda scale: {}),
    }
    for path, (inputs, numbers) in stages.items():
        each(study, path, [source.format(**at) for source in inputs], numbers, scales or edit)


def payload(path, scale):
    """The table behind a record, of three prompts or windows; the judge read no text."""
    spread = pd.Series([0.9, 1.0, 1.1])
    edit = path.split("/evals/small/")[1].rsplit("/", 2)[0]
    if "perplexity" in path:
        cost = float(scale) * (2 if "n=1" in edit else 1)
        return pd.DataFrame({"nll": (30 + cost) * spread, "tokens": [10, 10, 10]})
    prompts = pd.DataFrame({"prompt": [0, 1, 2]})
    if "fluency" in path:
        judged = {"tokens": 0, "nll": np.nan, "empty": False, "truncated": True, "words": 3}
        return prompts.assign(**judged, seq_rep_4=np.nan, dist_1=1.0, dist_2=0.5, dist_3=0.5)
    return prompts.assign(toxicity=toxicity(edit, scale) * spread)


def each(study, path, inputs, numbers, scales):
    """One manifest with its records."""

    def measured(scale):
        record = record_path(Path(path), scale, ".parquet")
        record.parent.mkdir(parents=True, exist_ok=True)
        payload(path, scale).to_parquet(record)
        return numbers(scale)

    if isinstance(scales, str):
        scales = study.scales_of_stage(scales, "openings")
    left_out = None
    if study.run.sweep.within and "perplexity" not in path and "/base/" not in path:
        left_out = {"1": WHY}
    each_scale(
        Path(path),
        [scale for scale in scales if scale not in (left_out or {})],
        key=lambda scale: {"of": path},
        measure=measured,
        payload=".parquet",
        protocol=expected_protocols(study)[path],
        inputs=inputs,
        left_out=left_out,
    )
