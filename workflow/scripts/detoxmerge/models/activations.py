"""The outputs of a model's modules for texts: one text at a time, so nothing is padded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from ..errors import UserError


@torch.no_grad()
def pooled(
    model: PreTrainedModel, rows: list[list[int]], modules: list[str], last: int | None = None
) -> np.ndarray:
    """The mean over positions of the outputs of modules.

    Args:
        rows: token ids of each text, one at least.
        modules: paths of `get_submodule`; each puts out (1, tokens, width), alone or as the first
            of several.
        last: positions at the end that are averaged; None, or a shorter text: all.

    Returns:
        (texts, modules, width), fp64.

    Raises:
        UserError: a value is NaN or infinite.
    """
    means = np.empty((len(rows), len(modules), model.config.hidden_size))
    with watched(model, modules) as outputs:
        for i, row in enumerate(tqdm(rows, desc="activations", mininterval=5)):
            # without the head: its logits are not needed
            model.base_model(torch.tensor([row], device=model.device), use_cache=False)
            for k, module in enumerate(modules):
                states = outputs[module][0, -last if last else 0 :]
                means[i, k] = states.double().mean(dim=0).cpu().numpy()
    if not np.isfinite(means).all():
        raise UserError("the base model's activations are NaN or infinite; its weights are broken")
    return means


@contextmanager
def watched(model: torch.nn.Module, modules: list[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Keep the outputs of modules, by their `get_submodule` paths.

    Yields:
        Path -> its output in the last forward pass, the first one of several.
    """
    outputs: dict[str, torch.Tensor] = {}

    def keep(module: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            outputs[module] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [model.get_submodule(m).register_forward_hook(keep(m)) for m in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
