"""The models that `run.exports` names."""

from ..errors import UserError, nearest
from .edits import Edit
from .grid import Grid


def find_export(grid: Grid, name: str) -> tuple[Edit, str]:
    """The edit behind `{model}/{edit}/scale{scale}`.

    Args:
        name: as in `run.exports`, and in the path of the export.

    Returns:
        The edit; its scale as text for paths, or the name of a selector.

    Raises:
        UserError: the study has no such edit, or does not measure that scale.
    """
    edits = {f"{edit.model}/{edit.edit}": edit for edit in grid.edits}
    place, _, segment = name.rpartition("/")
    if not segment.startswith("scale"):
        first, edit = next(iter(edits.items()))
        raise UserError(
            f"'{name}' does not end with its scale; write {{model}}/{{edit}}/scale{{scale}}, "
            f"for example {first}/scale{grid.scales_of_edit(edit.edit)[-1]}"
        )
    if place not in edits:
        raise UserError(f"the study has no edit '{place}'; {nearest(place, edits)}")
    scale = segment.removeprefix("scale")
    known = [*grid.scales_of_edit(edits[place].edit), *grid.run.selectors]
    if scale not in known:
        raise UserError(f"'{place}' has no scale or selector '{scale}'; {nearest(scale, known)}")
    return edits[place], scale


def exports_of(grid: Grid) -> list[str]:
    """Manifests of the exported models, in the order of `run.exports`."""
    exports = [find_export(grid, name) for name in grid.run.exports]
    return [
        grid.paths.export.format(model=edit.model, edit=edit.edit, scale=scale)
        for edit, scale in exports
    ]
