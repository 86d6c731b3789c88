"""Rule plot_training_loss."""

from pathlib import Path

from detoxmerge.session import session

with session(snakemake):
    from detoxmerge.plan.grid import Grid
    from detoxmerge.plan.load import load_config
    from detoxmerge.report.figures import draw
    from detoxmerge.report.shard_figures import losses, training_loss

    grid = Grid(load_config(snakemake.config))
    fine_tunes = [t for t in grid.fine_tunes if t.model == snakemake.wildcards.model]
    data = losses(fine_tunes, [Path(path) for path in snakemake.input.losses])
    draw(training_loss, data, **{kind: Path(path) for kind, path in snakemake.output.items()})
