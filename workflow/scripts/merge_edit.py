"""Rule merge_edit: an edit by whatever method, from whatever it asked for."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.edit.build import make_edit
    from detoxmerge.plan.config import load_config
    from detoxmerge.plan.grid import Grid

    make_edit(
        Grid(load_config(snakemake.config)).find(snakemake.wildcards),
        snakemake.params.protocol,
        base=Path(snakemake.input.base),
        inputs=[Path(path) for path in snakemake.input.manifests],
        out=Path(snakemake.output.edit),
    )
