"""One parameter, two names: what the tensors of a shard are called in the files of its base.

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

    Args:
        name: in the file.
        dtype: as in the file.
        shape: of the tensor.

    Returns:
        False for integers and truth values, attention masks and rotary frequencies.
    """
    whole = dtype[0] in "IUB" and dtype != "BF16"
    return not (whole or BUFFER.search(name) or (MASK.search(name) and len(shape) == 4))


def parameters(layout: Layout) -> dict[str, Shape]:
    """The parameters among stored tensors: name -> shape, in the order of the layout.

    Args:
        layout: of `Weights`.

    Returns:
        Those of `is_parameter`.
    """
    return {n: shape for n, (dtype, shape) in layout.items() if is_parameter(n, dtype, shape)}


def prefixes(own: list[str], base: list[str]) -> tuple[str, str]:
    """What the names of two files of one model have in front, each beyond the other.

    Args:
        own: names in one.
        base: names in the other.

    Returns:
        (a, b) so that `a` + name without `b` turns the most names of the base into own names; one
        of them is empty.
    """
    found, known = {("", "")}, set(own)
    if own and base:
        for one in {own[0], own[-1], max(own, key=len)}:
            found |= {(one.removesuffix(name), "") for name in base if one.endswith(name)}
            found |= {("", name.removesuffix(one)) for name in base if name.endswith(one)}
    return max(
        sorted(found),
        key=lambda pair: sum(pair[0] + name.removeprefix(pair[1]) in known for name in base),
    )


def own_names(own: Weights, base: Weights, said: str) -> dict[str, str]:
    """What each parameter of the base is called in a fine-tuned model or task vector.

    A tied weight that one of them holds twice, with equal bytes, is one parameter.

    Args:
        own: tensors of the fine-tune.
        base: those of the base.
        said: what `own` is called in messages.

    Returns:
        name in the base -> own name.

    Raises:
        UserError: a tensor is missing, is there beyond those of the base, or has another shape.
    """
    mine, wanted = parameters(own.layout), parameters(base.layout)
    before, without = prefixes(list(mine), list(wanted))
    found = {name: before + name.removeprefix(without) for name in wanted}
    for name in [name for name in found if found[name] not in mine]:
        if found[name] in own.layout:
            dtype = own.layout[found[name]][0]
            raise UserError(
                f"{said}: tensor '{found[name]}' is {dtype} in it; save the fine-tune unquantised"
            )
        twin = _twin(base, name)
        if twin is None or found[twin] not in mine:
            raise UserError(_differ(said, f"tensor '{name}' of the base is missing in it"))
        found[name] = found[twin]
    for name in mine.keys() - set(found.values()):
        if _twin(own, name) is None:
            raise UserError(_differ(said, f"the base has no tensor '{name}'"))
    for name, shape in wanted.items():
        own_shape = mine[found[name]]
        if own_shape != shape:
            what = f"tensor '{found[name]}' is {list(own_shape)} in it, {list(shape)} in the base"
            what += "; was the vocabulary changed?" if "emb" in name or "wte" in name else ""
            raise UserError(_differ(said, what))
    return found


def stored_names(base: Weights, shapes: Mapping[str, Shape], said: str) -> dict[str, str]:
    """What the parameters of a loaded model are called in its files.

    Args:
        base: tensors of the files.
        shapes: name -> shape of every parameter, tied weights once.
        said: what the model is called in messages.

    Returns:
        name of the parameter -> name in the files, in the order of `shapes`.

    Raises:
        UserError: the files hold other tensors than the model has, or none of floats.
    """
    stored = parameters(base.layout)
    before, without = prefixes(list(stored), list(shapes))
    found = {name: before + name.removeprefix(without) for name in shapes}
    rest = stored.keys() - set(found.values())
    odd = [name for name, own in found.items() if stored.get(own) != shapes[name]]
    odd += sorted(name for name in rest if _twin(base, name) is None)
    if odd:
        raise UserError(
            f"{said}: '{odd[0]}' is not the same in the model and in its files, which transformers "
            "converts when it loads them; such fine-tunes can be merged by `detoxmerge merge` only"
        )
    require_floats(base)
    return found


def require_floats(base: Weights) -> None:
    """Raise UserError unless there are parameters, and a vector can be subtracted from each.

    Args:
        base: weights of a base model.
    """
    if not parameters(base.layout):
        file = next(iter(base.metadata))
        raise UserError(f"{file} holds no weights; name the folder of a whole model as the base")
    for name in parameters(base.layout):
        if base.layout[name][0] not in FLOATS:
            raise UserError(
                f"{base.file_of[name]}: tensor '{name}' is {base.layout[name][0]}; a task vector "
                f"can be subtracted from {', '.join(FLOATS)} only: take the model unquantised"
            )


def _differ(said: str, what: str) -> str:
    return f"{said} was not made from this base: {what}; name the model that it was trained from"


def _twin(weights: Weights, name: str) -> str | None:
    """Another tensor of the same bytes: the other name of a tied weight."""
    kind = weights.layout[name]
    if kind[0] not in FLOATS:
        return None
    twins = (n for n, other in weights.layout.items() if other == kind and n != name)
    return next((n for n in twins if len(kind[1]) > 1 and _equal(weights, name, n)), None)


def _equal(weights: Weights, one: str, other: str) -> bool:
    dtype, shape = weights.layout[one]
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(FLOATS[dtype]).itemsize
    step = 1 << 20
    for start in range(0, size, step):
        parts = [np.empty(min(step, size - start), np.uint8) for _ in range(2)]
        a, b = (weights.read_bytes(n, start, p) for n, p in zip((one, other), parts, strict=True))
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
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", tensor)
    return int(found[1]) if found else None
