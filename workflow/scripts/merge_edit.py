"""Rule merge_edit, and those of edit.smk that share its script: an edit by whatever method."""

from functools import partial
from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.edit.build import make_edit
    from detoxmerge.plan.grid import Grid
    from detoxmerge.plan.load import load_config
    from detoxmerge.plan.registry import recipe_of
    from detoxmerge.train.job import Job, once

    config = load_config(snakemake.config)
    edit = Grid(config).find(snakemake.wildcards)
    recipe = config.recipes.get(recipe_of(edit.method, edit.params))
    minutes = recipe.checkpoint_minutes if recipe else 0.0
    job = Job(Path(snakemake.output.edit), device=config.device, checkpoint_minutes=minutes)
    base, inputs = Path(snakemake.input.base), [*map(Path, snakemake.input.manifests)]
    make = partial(make_edit, edit, snakemake.params.protocol, base, inputs)
    once(job, seconds_of(snakemake), make)
