"""An edit: `edit.json` and tensors that turn the base model into the edited one.

`load_edited(edit, scale)` gives the model, so what measures it need not know any method. The verb
in `edit.json` says how, one file of `verbs/` each: `none` is the base itself, `delta` changes
weights, `hooks` activations, `logits` next-token logits, `choose` picks among samples. At scale 0
the model is the base, bit for bit.
"""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from ..models.loading import cast, load_model
from ..models.places import place_in
from ..models.sampling_request import Sampling
from ..plan.registry import VERBS
from ..storage.artefacts import beside, read_json

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
            UserError: the edit belongs to another model, or what it is loaded from is missing,
                broken or changed.
        """
        manifest = read_json(edit)
        base = edit if manifest["verb"] == "none" else beside(edit, manifest["base"])
        self.place = place_in(base)
        self.model = load_model(self.place)
        # before the cast: a verb may need the weights in fp32
        self.verb = VERBS[manifest["verb"]].Verb(edit, self.model, device, DTYPES[dtype])
        cast(self.model, device, DTYPES[dtype])

    def at(self, scale: float) -> PreTrainedModel:
        """The model at a scale; it is always the same object, which a later call changes.

        Raises:
            ValueError: a scale that the edit does not have.
        """
        self.verb.apply(scale)
        return self.model

    def sampling(self, scale: float) -> Sampling:
        """What the edit asks of sampling at a scale; `forward` knows nothing of it."""
        return self.verb.sampling(scale)


def load_edited(
    edit: Path, scale: float, *, device: str = "cpu", dtype: str = "float32"
) -> PreTrainedModel:
    """The edited model at one scale: a causal LM with `forward` and `generate`.

    Args:
        edit: `edit.json`.
        scale: lambda for task vectors, alpha for steering and decoding; 0 is the base.
        device: ``cpu`` or ``cuda``.
        dtype: of the edited weights, ``float32`` or ``bfloat16``.

    Raises:
        UserError: as `EditedModel`.
    """
    return EditedModel(edit, device=device, dtype=dtype).at(scale)
