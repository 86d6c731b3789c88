"""What modules of a model give for texts: one text at a time, so nothing is padded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..errors import UserError


@torch.no_grad()
def pooled(
    model: Any, rows: list[list[int]], modules: list[str], last: int | None = None
) -> np.ndarray:
    """The mean over positions of what modules give.

    Args:
        rows: token ids of each text, one at least.
        modules: paths of `get_submodule`; each gives (1, tokens, width), alone or first of several.
        last: positions at the end that are averaged, of a shorter text all; none: all.

    Returns:
        (texts, modules, width), fp64.

    Raises:
        UserError: a value is NaN or infinite.
    """
    found = np.empty((len(rows), len(modules), model.config.hidden_size))
    with watched(model, modules) as given:
        for i, row in enumerate(tqdm(rows, desc="activations", mininterval=5)):
            # without the head: its logits are not needed
            model.base_model(torch.tensor([row], device=model.device), use_cache=False)
            for k, module in enumerate(modules):
                states = given[module][0, -last if last else 0 :]
                found[i, k] = states.double().mean(dim=0).cpu().numpy()
    if not np.isfinite(found).all():
        raise UserError("the base model's activations are NaN or infinite; its weights are broken")
    return found


@contextmanager
def watched(model: Any, modules: list[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Keep what modules give.

    Yields:
        Path -> what the module gave in the last forward pass, its first value of several.
    """
    given: dict[str, torch.Tensor] = {}

    def keep(module: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            given[module] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [model.get_submodule(m).register_forward_hook(keep(m)) for m in modules]
    try:
        yield given
    finally:
        for handle in handles:
            handle.remove()
