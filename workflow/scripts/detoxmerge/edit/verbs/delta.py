"""theta = theta_0 + sign * scale * delta, tensor by tensor in fp32, cast once."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from ...models.sampling_request import PLAIN, Sampling
from ...storage.artefacts import certified, read_json
from ...storage.tensors import layout, open_tensors, require_layout

FILES = ("delta.safetensors",)  # beside `edit.json`


class Verb:
    """Adds a vector to the weights."""

    def __init__(self, edit: Path, model: PreTrainedModel, device: str, dtype: torch.dtype) -> None:
        """Reads `sign` and `tensors` of `edit.json`."""
        manifest = read_json(edit)
        self.model, self.sign = model, manifest["sign"]
        self.delta = edit.parent / manifest["tensors"]["file"]
        # named_parameters gives tied weights once, and no buffers: the keys of every delta
        self._weights = {n: p.detach().clone() for n, p in model.named_parameters()}
        expected = {n: ("F32", tuple(p.shape)) for n, p in self._weights.items()}
        require_layout(expected, layout(self.delta), f"the base of {edit}", str(self.delta))
        certified(edit, manifest["tensors"]["file"])  # after the layout, whose sentence says more

    @torch.no_grad()
    def apply(self, scale: float) -> None:
        """Write the weights of this scale from the base's, which are kept: scales do not add up."""
        step = self.sign * scale
        with open_tensors(self.delta) as delta:
            for name, parameter in self.model.named_parameters():
                weight = self._weights[name]
                if scale != 0:
                    weight = weight + step * torch.from_numpy(delta.get_tensor(name))
                parameter.copy_(weight)  # casts once, to the model's dtype and device

    def sampling(self, scale: float) -> Sampling:
        """Plain sampling."""
        return PLAIN

    def forwards(self, scale: float) -> float:
        """One forward pass per token."""
        return 1.0

    def extra_bytes(self) -> int:
        """0: the vector is added to the weights, which take no more memory than before."""
        return 0
