"""What transformers calls the tensors of a model's files once it has loaded them.

Releases rename: the head of Pythia is ``embed_out`` in its files and ``lm_head`` in the model, and
the text model of Gemma 3 moved into ``model.language_model``. So files and adapters saved by two
releases name one parameter in two ways. The library's own renaming is asked, not guessed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..storage.tensors import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class LibraryNames:
    """The parameters of a model as `named_parameters` gives them.

    Attributes:
        shapes: name -> shape, sorted by name; tied weights once, no buffers.
        tied: every other name of a tied weight -> its name in `shapes`.
        input_first: matrices that are stored as (in, out), those of GPT-2's Conv1D.
    """

    shapes: dict[str, Shape]
    tied: dict[str, str]
    input_first: frozenset[str]
    _loaded: Callable[[str], str | None]

    def parameter(self, stored: str) -> str | None:
        """The parameter that a tensor of a file becomes.

        Args:
            stored: its name in a file of this model, of any release, or in an adapter.

        Returns:
            A name in `shapes`; None for a buffer, for what becomes a part of another tensor, and
            for what the model does not have.
        """
        name = self._loaded(stored)
        name = self.tied.get(name, name) if name is not None else None
        return name if name in self.shapes else None


def library_names(model: "PreTrainedModel") -> LibraryNames:
    """Ask a model that holds no weights.

    Args:
        model: on any device, for example ``meta``.
    """
    from transformers.pytorch_utils import Conv1D

    names: dict[int, str] = {}
    tied = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), name)
        if first != name:
            tied[name] = first
    shapes = {name: tuple(p.shape) for name, p in sorted(model.named_parameters())}
    input_first = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, Conv1D)}
    return LibraryNames(shapes, tied, frozenset(input_first), _renaming(model))


def _renaming(model: "PreTrainedModel") -> Callable[[str], str | None]:
    """As the library's loader renames; None for what it converts into other tensors."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        rename_source_key,
    )

    mapping, state = get_model_conversion_mapping(model), model.state_dict()
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    prefix = model.base_model_prefix

    def loaded(stored: str) -> str | None:
        name, converter = rename_source_key(stored, renamings, converters, prefix, state)
        if name not in state and stored in state:  # a name of the loaded model itself
            name, converter = rename_source_key(stored, [], [], prefix, state)
        return None if converter else name

    return loaded
