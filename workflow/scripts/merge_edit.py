"""Rules merge_edit, train_edit, fit_edit, fit_hooks, describe_edit: an edit by whatever method."""

from functools import partial
from pathlib import Path

from detoxmerge.session import seconds_of, session

with session(snakemake):
    from detoxmerge.edit.build import make_edit
    from detoxmerge.plan.config import load_config
    from detoxmerge.plan.grid import Grid
    from detoxmerge.train.budget import once

    config = load_config(snakemake.config)
    edit, out = Grid(config).find(snakemake.wildcards), Path(snakemake.output.edit)
    recipe = config.recipes.get(getattr(edit.params, "recipe", None))
    make = partial(
        make_edit,
        edit,
        snakemake.params.protocol,
        base=Path(snakemake.input.base),
        inputs=[Path(path) for path in snakemake.input.manifests],
        out=out,
        device=config.device,
        checkpoint_minutes=recipe.checkpoint_minutes if recipe else 0.0,
    )
    once(out, seconds_of(snakemake), make)
