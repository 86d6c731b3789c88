"""Edits what modules give, by a forward hook on each, at every position; h is the hidden state.

`edit.json` says which module gets which vector v of `hooks.safetensors`, and the rule:

    add     h' = h + scale * v
    rotate  h' = |h| * normalize(h / |h| + scale * v): another direction, the same L2 norm

in fp32, cast back. Where h is 0 it stays 0 under `rotate`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from ...errors import UserError
from ...models.sampling_request import PLAIN, Sampling
from ...storage.artefacts import certified, read_json
from ...storage.tensors import open_tensors
from . import tensor_bytes

FILES = ("hooks.safetensors",)  # beside `edit.json`


def add(h: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """h + v, for h (..., width) and v (width,), fp32; v is already times the scale."""
    return h + v


def rotate(h: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """|h| * normalize(h / |h| + v), for h and v as in `add`; the norms stay the same.

    `normalize` divides by 1e-12 at least, so a zero gives no NaN.
    """
    norm = torch.linalg.vector_norm(h, dim=-1, keepdim=True)
    return norm * normalize(normalize(h, dim=-1) + v, dim=-1)


RULES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": add,
    "rotate": rotate,
}


class Verb:
    """Hooks of one rule, a vector for each module."""

    def __init__(self, edit: Path, model: PreTrainedModel, device: str, dtype: torch.dtype) -> None:
        """
        Args:
            edit: `edit.json` with `rule`, `modules` (path of the module -> name of its vector)
                and `tensors`.
            model: the base.
            device: also of the vectors.
            dtype: of the weights; the vectors stay fp32.
        """
        manifest = read_json(edit)
        self.model, self.rule = model, RULES[manifest["rule"]]
        self._handles: list[RemovableHandle] = []
        file = edit.parent / manifest["tensors"]["file"]
        known, width = dict(model.named_modules()), model.config.hidden_size
        self._vectors: dict[str, torch.Tensor] = {}
        with open_tensors(file) as tensors:
            names = set(tensors.keys())
            for module, name in manifest["modules"].items():
                # a vector of another width would be broadcast, or fail far from here
                shape = list(tensors.get_slice(name).get_shape()) if name in names else "missing"
                if module not in known or shape != [width]:
                    has = f"has hidden width {width}" if module in known else "has no such module"
                    raise UserError(
                        f"{edit} and its base do not belong together: the vector '{name}' for "
                        f"{module} is {shape} in {file.name}, and the base {has}; make the edit "
                        "again from this base"
                    )
                vector = torch.from_numpy(tensors.get_tensor(name))
                self._vectors[module] = vector.to(device=device, dtype=torch.float32)
        certified(edit, manifest["tensors"]["file"])  # after the widths, whose sentence says more

    def apply(self, scale: float) -> None:
        """Replace the hooks by those of this scale; at 0 there are none."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if scale != 0:
            self._handles = [
                self.model.get_submodule(module).register_forward_hook(self._hook(scale * vector))
                for module, vector in self._vectors.items()
            ]

    def _hook(self, v: torch.Tensor) -> Callable[..., Any]:
        def hook(_: Any, __: Any, output: Any) -> Any:
            h = output[0] if isinstance(output, tuple) else output
            moved = self.rule(h.float(), v).to(h.dtype)
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        return hook

    def sampling(self, scale: float) -> Sampling:
        """Plain sampling."""
        return PLAIN

    def forwards(self, scale: float) -> float:
        """One forward pass per token."""
        return 1.0

    def extra_bytes(self) -> int:
        """The vectors'."""
        return tensor_bytes(self._vectors.values())
