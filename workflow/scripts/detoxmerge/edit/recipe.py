"""An edit is a recipe: `edit.json` and tensors that turn the base model into the edited one.

`load_edited(edit, scale)` gives the model; whoever measures it knows no method. The verb says how:
`none` is the base itself; `delta` is theta = theta_0 + sign * scale * delta, tensor by tensor in
fp32, cast once. At scale 0 the model is the base, bit for bit.
"""

from pathlib import Path
from typing import Any

import torch

from ..artefacts import read_json
from ..data.models import load_model
from .tensors import layout, open_tensors, require_layout

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class EditedModel:
    """A base model that an edit can be applied to at one scale after another, loaded once."""

    def __init__(self, edit: Path, *, device: str, dtype: str = "float32") -> None:
        """
        Args:
            edit: `edit.json`, of the base or of a method.
            device: ``cpu`` or ``cuda``.
            dtype: of the edited weights, ``float32`` or ``bfloat16``.

        Raises:
            UserError: the edit belongs to another model, or its tensors are gone or broken.
        """
        self.manifest = read_json(edit)
        is_base = self.manifest["verb"] == "none"
        base = edit if is_base else edit.parent / self.manifest["base"]
        self.place = read_json(base)["model"]
        loaded = load_model(self.place)
        self._delta = None
        if not is_base:
            # named_parameters gives tied weights once, and no buffers: the keys of every delta
            self._weights = {n: p.detach().clone() for n, p in loaded.named_parameters()}
            self._delta = edit.parent / self.manifest["tensors"]["file"]
            own = {n: ("F32", tuple(p.shape)) for n, p in self._weights.items()}
            require_layout(own, layout(self._delta), f"the base ({base})", str(self._delta))
        self.model = loaded.to(device=device)
        for parameter in self.model.parameters():  # not the buffers: rotary frequencies stay fp32
            parameter.data = parameter.data.to(DTYPES[dtype])

    @torch.no_grad()
    def at(self, scale: float) -> Any:
        """The model at a scale.

        Args:
            scale: how far to go; 0 is the base.

        Returns:
            A causal LM of transformers. It is one object: a later call changes it.
        """
        if scale != 0 and self._delta is None:
            raise ValueError("the base model has scale 0 only")
        if self._delta is None:
            return self.model
        step = self.manifest["sign"] * scale
        with open_tensors(self._delta) as delta:
            for name, parameter in self.model.named_parameters():
                weight = self._weights[name]
                if scale != 0:
                    weight = weight + step * torch.from_numpy(delta.get_tensor(name))
                parameter.copy_(weight)  # casts once, to the model's dtype and device
        return self.model


def load_edited(edit: Path, scale: float, *, device: str = "cpu", dtype: str = "float32") -> Any:
    """The edited model at one scale.

    Args:
        edit: `edit.json`.
        scale: lambda for task vectors; 0 is the base.
        device: ``cpu`` or ``cuda``.
        dtype: of the edited weights.

    Returns:
        A causal LM of transformers, with `forward` and `generate`.

    Raises:
        UserError: as `EditedModel`.
    """
    return EditedModel(edit, device=device, dtype=dtype).at(scale)
