"""One parameter, two names: what the tensors of a fine-tune are called in the files of its base.

A causal LM saved as a whole has names with a prefix (``transformer.h.0...``) that the files of its
inner model lack; older files also hold buffers, and a tied weight twice.
"""

import re
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from ..models.library_names import LibraryNames
from ..models.tied_weights import same_bytes
from ..storage.reading import FLOATS, Weights
from ..storage.tensors import Shape

# dtypes of weights that quantisation packs; positions and other counts are I64
PACKED = ("I8", "U8", "I32", "U32")

Layout = Mapping[str, tuple[str, Shape]]

# masks and rotary frequencies that older releases saved with the weights
BUFFER = re.compile(r"(^|\.)(attn|attention)\.masked_bias$|(^|\.)inv_freq$")
# what FSDP, activation checkpointing and torch.compile put into the names of modules
WRAPPERS = re.compile(r"(?<![^.])(_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")
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


def prefixes(names: list[str], base: list[str]) -> list[tuple[str, str]]:
    """The prefix that one file's names have and the base's lack, and the other way round.

    Args:
        names: in one file of a model.
        base: in the base's files.

    Returns:
        (a, b), one of them empty: of all pairs those for which the most names of the base, with
        `b` taken off and `a` put in front, are among `names`. Several, where names of an inner
        model fit into two parts of the base.
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

    counts = {pair: num_known(pair) for pair in sorted(candidates)}
    return [pair for pair, count in counts.items() if count == max(counts.values())]


def require_plain(config: Mapping[str, Any], weights: Weights, label: str) -> None:
    """Raise UserError if weights are quantised: what is stored is then not what is computed with.

    Args:
        config: config.json of the model.
        label: what messages call the model.
    """
    packed = [n for n, (dtype, shape) in weights.layout.items()
              if dtype in PACKED and len(shape) > 1 and not MASK.search(n)]  # fmt: skip
    if "quantization_config" in config or packed:
        why = f"'{packed[0]}' is {weights.layout[packed[0]][0]}" if packed else "its config says so"
        raise UserError(
            f"{label} is quantised ({why}); take the model unquantised, or load it, call "
            "dequantize() and save it"
        )


def without_wrappers(weights: Weights, label: str) -> Weights:
    """The same tensors, named without what torch puts into the names of modules that it wraps.

    Raises:
        UserError: two names differ in that alone.
    """
    names: dict[str, str] = {}
    for stored in weights.layout:
        name = WRAPPERS.sub("", stored)
        if name in names:
            raise UserError(
                f"{label}: '{names[name]}' and '{stored}' are both the tensor '{name}'; save it "
                "from the model within its wrapper"
            )
        names[name] = stored
    return weights.renamed(names)


def stored_names(base: Weights, library: LibraryNames, label: str) -> dict[str, str]:
    """What the parameters of a loaded model are called in its files.

    Args:
        base: tensors of the files.
        library: what transformers makes of their names.
        label: what messages call the model.

    Returns:
        name of the parameter -> name in the files, sorted by parameter.

    Raises:
        UserError: the files hold other tensors than the model has, or none of floats; a tied
            weight is stored twice and differs.
    """
    names: dict[str, str] = {}
    unlike = []
    for stored, shape in parameters(base.layout).items():
        name = library.parameter(stored)
        if name is None or library.shapes[name] != shape:
            unlike.append(stored)
        elif name in names and not same_bytes(base, names[name], stored):
            raise UserError(
                f"{label}: '{names[name]}' and '{stored}' are one weight by its config, and differ "
                "in its files; set tie_word_embeddings to false there, or save the model again"
            )
        else:
            names.setdefault(name, stored)
    unlike += [name for name in library.shapes if name not in names]
    if unlike:
        raise UserError(
            f"{label}: '{unlike[0]}' is not the same in the model and in its files, which "
            "transformers converts when it loads them; such fine-tunes can be merged by "
            "`detoxmerge merge` only"
        )
    require_floats(base)
    return {name: names[name] for name in library.shapes}


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


def layer_of(tensor: str) -> int | None:
    """The block of a transformer that a parameter belongs to.

    Args:
        tensor: a name as in `named_parameters`, for example ``transformer.h.3.ln_1.weight``.

    Returns:
        The first part of the name that is a number; None outside of the blocks.
    """
    number = re.search(r"(?:^|\.)(\d+)(?:\.|$)", tensor)
    return int(number[1]) if number else None
