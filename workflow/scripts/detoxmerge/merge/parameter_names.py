"""One parameter, two names: what the tensors of a fine-tune are called in the files of its base.

A causal LM saved as a whole has names with a prefix (``transformer.h.0...``) that the files of its
inner model lack; older files also hold buffers, and a tied weight twice.
"""

import re
from collections.abc import Mapping

import numpy as np

from ..errors import UserError
from ..storage.reading import FLOATS, Weights
from ..storage.tensors import Shape

Layout = Mapping[str, tuple[str, Shape]]

# masks and rotary frequencies that older releases saved with the weights
BUFFER = re.compile(r"(^|\.)(attn|attention)\.masked_bias$|(^|\.)inv_freq$")
MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")  # of four axes; a parameter has one


def is_parameter(name: str, dtype: str, shape: Shape) -> bool:
    """Whether a stored tensor is a parameter, and not a buffer.

    Buffers are integers and truth values, attention masks and rotary frequencies.
    """
    whole = dtype[0] in "IUB" and dtype != "BF16"
    return not (whole or BUFFER.search(name) or (MASK.search(name) and len(shape) == 4))


def parameters(layout: Layout) -> dict[str, Shape]:
    """The parameters among stored tensors: name -> shape, in the order of the layout."""
    return {n: shape for n, (dtype, shape) in layout.items() if is_parameter(n, dtype, shape)}


def prefixes(names: list[str], base: list[str]) -> tuple[str, str]:
    """The prefix that one file's names have and the base's lack, and the other way round.

    Args:
        names: in one file of a model.
        base: in the base's files.

    Returns:
        (a, b), one of them empty: of all pairs the one for which the most names of the base, with
        `b` taken off and `a` put in front, are among `names`.
    """
    # some names are enough to find all prefixes that there may be
    candidates, known = {("", "")}, set(names)
    if names and base:
        for name in {names[0], names[-1], max(names, key=len)}:
            candidates |= {(name.removesuffix(b), "") for b in base if name.endswith(b)}
            candidates |= {("", b.removesuffix(name)) for b in base if b.endswith(name)}

    def num_known(pair: tuple[str, str]) -> int:
        before, without = pair
        return sum(before + b.removeprefix(without) in known for b in base)

    return max(sorted(candidates), key=num_known)


def names_in(weights: Weights, base: Weights, label: str) -> dict[str, str]:
    """What each parameter of the base is called in a fine-tuned model or task vector.

    A tied weight that one of them holds twice, with equal bytes, is one parameter.

    Args:
        weights: tensors of the fine-tune.
        base: tensors of the base.
        label: what messages call the fine-tune.

    Returns:
        name in the base -> name in the fine-tune.

    Raises:
        UserError: a tensor is missing, is not among those of the base, or has another shape.
    """
    tuned, wanted = parameters(weights.layout), parameters(base.layout)
    before, without = prefixes(list(tuned), list(wanted))
    names = {name: before + name.removeprefix(without) for name in wanted}

    # what the fine-tune lacks may be the other name of a tied weight that it has
    for name in [name for name in names if names[name] not in tuned]:
        if names[name] in weights.layout:
            dtype = weights.layout[names[name]][0]
            raise UserError(
                f"{label}: tensor '{names[name]}' is {dtype} in it; save the fine-tune unquantised"
            )
        twin = _twin(base, name)
        if twin is None or names[twin] not in tuned:
            raise UserError(_differ(label, f"tensor '{name}' of the base is missing in it"))
        names[name] = names[twin]

    # and so may be what it has beyond the base
    for name in tuned.keys() - set(names.values()):
        if _twin(weights, name) is None:
            raise UserError(_differ(label, f"the base has no tensor '{name}'"))

    for name, shape in wanted.items():
        tuned_shape = tuned[names[name]]
        if tuned_shape != shape:
            what = f"tensor '{names[name]}' is {list(tuned_shape)} in it, {list(shape)} in the base"
            what += "; was the vocabulary changed?" if "emb" in name or "wte" in name else ""
            raise UserError(_differ(label, what))
    return names


def stored_names(base: Weights, shapes: Mapping[str, Shape], label: str) -> dict[str, str]:
    """What the parameters of a loaded model are called in its files.

    Args:
        base: tensors of the files.
        shapes: name -> shape of every parameter, tied weights once.
        label: what messages call the model.

    Returns:
        name of the parameter -> name in the files, in the order of `shapes`.

    Raises:
        UserError: the files hold other tensors than the model has, or none of floats.
    """
    stored = parameters(base.layout)
    before, without = prefixes(list(stored), list(shapes))
    names = {name: before + name.removeprefix(without) for name in shapes}
    rest = stored.keys() - set(names.values())
    unlike = [name for name, in_file in names.items() if stored.get(in_file) != shapes[name]]
    unlike += sorted(name for name in rest if _twin(base, name) is None)
    if unlike:
        raise UserError(
            f"{label}: '{unlike[0]}' is not the same in the model and in its files, which "
            "transformers converts when it loads them; such fine-tunes can be merged by "
            "`detoxmerge merge` only"
        )
    require_floats(base)
    return names


def require_floats(base: Weights) -> None:
    """Raise UserError unless a base has parameters, and a vector can be subtracted from each."""
    if not parameters(base.layout):
        file = next(iter(base.metadata))
        raise UserError(f"{file} holds no weights; name the folder of a whole model as the base")
    for name in parameters(base.layout):
        if base.layout[name][0] not in FLOATS:
            raise UserError(
                f"{base.file_of[name]}: tensor '{name}' is {base.layout[name][0]}; a task vector "
                f"can be subtracted from {', '.join(FLOATS)} only: take the model unquantised"
            )


def _differ(label: str, what: str) -> str:
    return f"{label} was not made from this base: {what}; name the model that it was trained from"


def _twin(weights: Weights, name: str) -> str | None:
    """Another tensor with the same bytes: the other name of a tied weight."""
    kind = weights.layout[name]
    if kind[0] not in FLOATS:
        return None
    twins = (n for n, other in weights.layout.items() if other == kind and n != name)
    return next((n for n in twins if len(kind[1]) > 1 and _equal(weights, name, n)), None)


def _equal(weights: Weights, name: str, other: str) -> bool:
    """Whether two tensors of one dtype and shape have the same bytes."""
    dtype, shape = weights.layout[name]
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(FLOATS[dtype]).itemsize
    step = 1 << 20
    for start in range(0, size, step):
        parts = [np.empty(min(step, size - start), np.uint8) for _ in range(2)]
        a, b = (weights.read_bytes(n, start, p) for n, p in zip((name, other), parts, strict=True))
        if not np.array_equal(a, b):
            return False
    return True


def layer_of(tensor: str) -> int | None:
    """The block of a transformer that a parameter belongs to.

    Args:
        tensor: a name as in `named_parameters`, for example ``transformer.h.3.ln_1.weight``.

    Returns:
        The first part of the name that is a number; None outside of the blocks.
    """
    number = re.search(r"(?:^|\.)(\d+)(?:\.|$)", tensor)
    return int(number[1]) if number else None
