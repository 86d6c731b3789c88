"""Base models: checked once, then referred to by a manifest (where, revision, checksums)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UserError
from ..plan.local import TOKENIZER_FILES, deciding_files
from ..plan.weight_names import read_config
from ..storage.artefacts import certified, read_json, sha256, write_manifest
from ..storage.reading import Weights
from ..storage.tensors import open_tensors
from .folder import weight_files
from .library_names import LibraryNames, library_names
from .places import Place, download_model, model_folder, place_of, require_files
from .tied_weights import stored_twice
from .without_code import code_never_runs, read_folder, read_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

M = TypeVar("M", bound="torch.nn.Module")


def fetch_model(
    alias: str,
    protocol: Mapping[str, Any],
    pretrained: Path | None,
    out: Path,
    require_context: Callable[[int | None], None] | None = None,
) -> None:
    """Find a base model, check that it is complete, and write its manifest: the null edit.

    Args:
        protocol: `hub` and `revision`, or `path`; all None if the workflow trained it.
        pretrained: manifest of a base model trained here, its folder beside it.
        out: `edit.json` with `verb: none`, the model's place, checksums and parameter count.
        require_context: refuses a number of tokens that the model can read (None: it states none),
            so that a window that does not fit is found before anything is trained.

    Raises:
        UserError: it cannot be fetched, or config, safetensors or tokenizer are missing or broken.
    """
    name = f"models.{alias}"
    place = {"path": str(pretrained.parent)} if pretrained else place_of(protocol)
    if "hub" in place:
        download_model(place, name)
    if pretrained:
        for file in read_json(pretrained)["files"]:
            certified(pretrained, file)
    # look at all files now: a broken one would fail only in the first job that loads the model
    folder = model_folder(place)
    weights = weight_files(folder, name)
    try:
        count = sum(_num_elements(file) for file in weights)
        told = read_config(folder, name)
        stored_twice(Weights(weights), told, folder, lambda: names_of_library(place))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    config = _require_config(folder, name)
    _require_tokenizer(folder, name)
    if require_context:
        require_context(_limit(config))
    # the checksums make another version in the same folder another model
    files = deciding_files(folder, TOKENIZER_FILES, weights=True)
    write_manifest(
        out,
        protocol=protocol,
        inputs=[pretrained] if pretrained else [],
        files={},
        verb="none",
        model=place | {"sha256": {str(f.relative_to(folder)): sha256(f) for f in files}},
        num_parameters_stored=count,
    )
    print(f"{name}: {folder}, {count / 1e6:.2f} million parameters in {len(weights)} file(s)")


def load_model(place: Place) -> PreTrainedModel:
    """The base model in fp32 whatever its files have, on the CPU, without dropout.

    Raises:
        UserError: it is not there, or its files are not those of the place.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder, precise = require_files(model_folder(place), place), torch.float32
    return read_folder(AutoModelForCausalLM, folder, dtype=precise, use_safetensors=True).eval()


def load_config(place: Place) -> PreTrainedConfig:
    """The config of a base model."""
    from transformers import AutoConfig

    return read_folder(AutoConfig, require_files(model_folder(place), place, weights=False))


def move(model: M, to: str | torch.dtype) -> M:
    """Move a model to a device, or cast its weights and buffers, in place; returns the model."""
    return model.to(to)


def cast(model: PreTrainedModel, device: str, dtype: torch.dtype) -> PreTrainedModel:
    """Move a model and cast its weights, in place; returns the model.

    Args:
        dtype: of the weights and not of the buffers: rotary frequencies stay fp32.
    """
    move(model, device)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def parameter_shapes(place: Place) -> dict[str, tuple[int, ...]]:
    """The parameters of a base model as `named_parameters` gives them, by its config alone.

    Returns:
        name -> shape, sorted by name; tied weights once, no buffers. No weights are allocated.
    """
    return names_of_library(place).shapes


def names_of_library(place: Place, *, as_saved: bool = False) -> LibraryNames:
    """What transformers calls the parameters of a model, and what it renames to them.

    Args:
        as_saved: of the class that its config names, and not of the causal LM that is loaded here.

    Raises:
        OSError: the config is missing.
        ValueError: transformers does not know such a model.
    """
    return library_names(_without_weights(place, as_saved=as_saved))


def input_first_weights(place: Place) -> frozenset[str]:
    """The matrices of a base model that are stored as (in, out); all others are (out, in).

    Returns:
        Names as in `named_parameters`.
    """
    return names_of_library(place).input_first


def _without_weights(place: Place, *, as_saved: bool = False) -> PreTrainedModel:
    """A base model by its config alone, on the meta device."""
    import torch
    import transformers

    config = load_config(place)
    named = getattr(transformers, (config.architectures or [""])[0], None) if as_saved else None
    with torch.device("meta"), code_never_runs(model_folder(place)):
        if named is not None:
            return named(config)
        return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def context_of(model: PreTrainedModel) -> int | None:
    """Tokens that a model can read; None where its config states no limit."""
    return _limit(model.config)


def _limit(config: PreTrainedConfig) -> int | None:
    return getattr(config, "max_position_embeddings", None)


def load_tokenizer(place: Place) -> PreTrainedTokenizerBase:
    """The tokenizer of a base model."""
    return read_tokenizer(require_files(model_folder(place), place, weights=False))


def pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """A token id for padding: the pad token, else the end-of-text token, else 0."""
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in ids if token is not None)


def _num_elements(file: Path) -> int:
    """Number of stored elements; opening the file also finds a truncated one."""
    total = 0
    with open_tensors(file) as tensors:
        for key in tensors.keys():  # noqa: SIM118 (no mapping)
            size = 1
            for length in tensors.get_slice(key).get_shape():
                size *= length
            total += size
    return total


def _require_config(folder: Path, name: str) -> PreTrainedConfig:
    try:
        return load_config({"path": str(folder)})
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except Exception as error:  # of an unknown model_type, a wrong type of a value, and the like
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name}: transformers cannot read the config in '{folder}' ({why}); take a model that "
            "it knows, or fetch the model again"
        ) from None


def _require_tokenizer(folder: Path, name: str) -> None:
    try:
        # transformers invents an empty tokenizer where a folder has none
        tokens = load_tokenizer({"path": str(folder)})("two words")["input_ids"]
        why = "it gives no tokens for 'two words'"
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except Exception as error:
        tokens, why = [], " ".join(str(error).split())[:200]
    if not tokens:
        raise UserError(
            f"{name}: '{folder}' has no tokenizer that can be loaded ({why}); put tokenizer.json "
            "and tokenizer_config.json there"
        )
