"""What is done beside the operator: leave tensors out, scale by depth (LiNeS)."""

from collections.abc import Callable, Iterable, Mapping

from ..errors import UserError, nearest
from .parameter_names import layer_of


def excluded_tensors(
    names: Iterable[str],
    patterns: Iterable[str],
    other_names: Callable[[], Mapping[str, str]] = dict,
) -> list[str]:
    """Tensors whose names contain one of some patterns, whatever the case; sorted.

    Args:
        names: of all tensors.
        patterns: parts of names: ``wte``, ``ln_``, or ``h.1.`` for a block.
        other_names: of tied weights: other name -> name; they are left out under either.

    Raises:
        UserError: a pattern is in no name, or no tensor would be left to merge.
    """
    names = sorted(names)
    excluded: set[str] = set()
    for pattern in patterns:
        others = {other: name for other, name in other_names().items() if name in names}
        every = {name: name for name in names} | others
        hits = {name for other, name in every.items() if pattern.lower() in other.lower()}
        if not hits:
            parts = {part for name in names for part in name.split(".") if not part.isdigit()}
            raise UserError(
                f"exclude: no tensor's name contains '{pattern}'; {nearest(pattern, parts)}"
            )
        excluded |= hits
    if len(excluded) == len(names):
        raise UserError("exclude: every tensor would be left out; name fewer parts")
    return sorted(excluded)


def lines_factors(names: Iterable[str], alpha: float, beta: float | None) -> dict[str, float]:
    """LiNeS: name -> a factor that grows with the tensor's depth.

    alpha + beta l / (L - 1) in block l = 0 .. L-1, alpha outside of the blocks (Wang et al., ICLR
    2025, arXiv 2410.17146). With one block l / (L - 1) is 0.

    Args:
        names: of all tensors.
        alpha: factor of the first block.
        beta: what is added to it in the last block; None for 1 - alpha, so that the last has 1.

    Raises:
        UserError: no name has a block's number.
    """
    layers = {name: layer_of(name) for name in names}
    last = max((layer for layer in layers.values() if layer is not None), default=None)
    if last is None:
        raise UserError("lines_alpha: no tensor's name has the number of a block; leave it out")
    beta = 1 - alpha if beta is None else beta
    return {name: alpha + beta * (layer or 0) / max(1, last) for name, layer in layers.items()}
