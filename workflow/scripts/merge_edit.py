"""Rule merge_edit, and those of edit.smk that share its script: an edit by whatever method."""

from functools import partial
from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.edit.build import make_edit
    from detoxmerge.plan.grid import Grid
    from detoxmerge.plan.load import load_config
    from detoxmerge.plan.registry import recipe_of
    from detoxmerge.train.budget import once

    config, out = load_config(snakemake.config), Path(snakemake.output.edit)
    edit = Grid(config).find(snakemake.wildcards)
    recipe = config.recipes.get(recipe_of(edit.method, edit.params))
    arguments = {
        "base": Path(snakemake.input.base),
        "inputs": [Path(path) for path in snakemake.input.manifests],
        "out": out,
        "device": config.device,
        "checkpoint_minutes": recipe.checkpoint_minutes if recipe else 0.0,
    }
    make = partial(make_edit, edit, snakemake.params.protocol, **arguments)
    once(out, seconds_of(snakemake), make)
