"""What the parameters of a base are called in a fine-tune of it, or why it is none."""

from collections.abc import Collection, Mapping

from ..errors import UserError
from ..models.tied_weights import same_bytes
from ..storage.reading import FLOATS, Weights
from .base import Base
from .parameter_names import parameters


def names_in(
    weights: Weights, base: Base, label: str, excluded: Collection[str] = ()
) -> dict[str, str]:
    """What each parameter of the base is called in a fine-tuned model or task vector.

    Args:
        weights: tensors of the fine-tune.
        base: of the same names, or of those of another release of transformers.
        label: what messages call the fine-tune.
        excluded: parameters of the base that nobody reads, so that they may differ or be missing.

    Returns:
        name in the base -> name in the fine-tune, without what is excluded.

    Raises:
        UserError: a tensor is missing, is not among those of the base, or has another shape; a
            tied weight is stored twice and differs.
    """
    tuned = parameters(weights.layout)
    wanted = {n: s for n, s in parameters(base.weights.layout).items() if n not in set(excluded)}
    meant = base.plain_names(tuned, label)
    why = _why_unlike(weights, wanted, meant)
    if why:
        meant = base.names_of(tuned, label)
        why = _why_unlike(weights, wanted, meant)
    if why:
        raise UserError(_differ(label, why, base))

    names: dict[str, str] = {}
    for stored, name in meant.items():
        if name not in wanted:
            continue
        if name in names and not same_bytes(weights, names[name], stored):
            raise UserError(
                f"{label}: '{names[name]}' and '{stored}' are one weight in the base, and differ "
                "in it; train it with the weights tied, or, if they are two, set "
                "tie_word_embeddings to false in the base's config.json and store both"
            )
        names.setdefault(name, stored)
    for name, shape in wanted.items():
        tuned_shape = tuned[names[name]]
        if tuned_shape != shape:
            what = f"tensor '{names[name]}' is {list(tuned_shape)} in it, {list(shape)} in the base"
            if len(shape) == len(tuned_shape) == 2 and tuned_shape[1] == shape[1]:
                what += (
                    "; was the vocabulary changed? `detoxmerge merge` with --exclude can leave the "
                    "embeddings and the output head alone"
                )
            raise UserError(_differ(label, what))
    return {name: names[name] for name in wanted}


def _why_unlike(
    weights: Weights, wanted: Collection[str], meant: Mapping[str, str | None]
) -> str | None:
    """The first thing by which a fine-tune's names are not those of the base."""
    found = set(meant.values())
    for stored, name in meant.items():
        # it may be the other name of a tied weight that it has
        if name is None and not any(
            other for other in meant if other != stored and _twins(weights, other, stored)
        ):
            return f"the base has no tensor '{stored}'"
    for name in wanted:
        if name not in found:
            if name in weights.layout:
                dtype = weights.layout[name][0]
                return f"tensor '{name}' is {dtype} in it; save the fine-tune unquantised"
            return f"tensor '{name}' of the base is missing in it"
    return None


def _differ(label: str, what: str, base: Base | None = None) -> str:
    sentence = f"{label} was not made from this base: {what}; name the model that it comes from"
    if base is not None and base.library is None:
        sentence += (
            "; if another release of transformers saved one of them, it may know both names: "
            "install transformers and torch beside this command"
        )
    return sentence


def _twins(weights: Weights, name: str, other: str) -> bool:
    """Whether two tensors are matrices of floats with the same bytes."""
    dtype, shape = weights.layout[name]
    return dtype in FLOATS and len(shape) > 1 and same_bytes(weights, name, other)
