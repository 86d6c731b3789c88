"""Where the parts of a decoder lie, by the `model_type` of its config.

By name and not by similar paths: BLOOM has Falcon's paths, but its attention adds the residual
itself, so the same path would mean something else.
"""

from collections.abc import Sized
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Layout(NamedTuple):
    """Paths for `get_submodule`: of the list of blocks, and within a block.

    Attributes:
        blocks: the list; the output of a block is the residual stream after it.
        attention: its output is that of the attention, projected, before the residual is added.
        values: the last linear layer of the MLP, whose input neurons each have a value vector.
    """

    blocks: str
    attention: str
    values: str


_LLAMA = Layout("model.layers", "self_attn", "mlp.down_proj")
_GPT2 = Layout("transformer.h", "attn", "mlp.c_proj")
LAYOUTS = {
    "falcon": Layout("transformer.h", "self_attention", "mlp.dense_4h_to_h"),
    "gpt2": _GPT2,
    "gpt_neo": _GPT2,
    "gpt_neox": Layout("gpt_neox.layers", "attention", "mlp.dense_4h_to_h"),
    "gptj": Layout("transformer.h", "attn", "mlp.fc_out"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mpt": Layout("transformer.blocks", "attn", "ffn.down_proj"),
    "opt": Layout("model.decoder.layers", "self_attn", "fc2"),
    "phi": Layout("model.layers", "self_attn", "mlp.fc2"),
    "phi3": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}


def modules_of(
    model: "PreTrainedModel", part: Literal["blocks", "attention", "values"]
) -> list[str]:
    """One module of each block, by its path.

    Args:
        part: `attention` or `values` of `Layout`; `blocks` for the blocks themselves.

    Returns:
        As many paths for `get_submodule` as the model has blocks, from the first to the last.

    Raises:
        UserError: the architecture is not in `LAYOUTS`.
    """
    kind = model.config.model_type
    if kind not in LAYOUTS:
        raise UserError(
            f"it is not known where the blocks of a model of type '{kind}' are; this method works "
            f"with {', '.join(LAYOUTS)}"
        )
    layout = LAYOUTS[kind]
    in_turn = model.get_submodule(layout.blocks)
    if not isinstance(in_turn, Sized):
        raise TypeError(f"{layout.blocks} of a model of type '{kind}' is no list of blocks")
    blocks = [f"{layout.blocks}.{i}" for i in range(len(in_turn))]
    return blocks if part == "blocks" else [f"{block}.{getattr(layout, part)}" for block in blocks]
