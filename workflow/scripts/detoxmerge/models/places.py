"""Where the files of models lie: local folders, and what the hub's client fetched."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..plan.local import CARD_FILES, MODEL_FILES, expand_path
from ..storage.tensors import layout

LOCAL_COPY = "`hub` and `revision` by `path`, a local copy"


def model_folder(place: Mapping[str, Any]) -> Path:
    """Where a base model lies on this machine, without internet.

    Args:
        place: `model` of a base manifest: `path`, or `hub` and `revision`.

    Returns:
        The folder.

    Raises:
        UserError: it is not there.
    """
    if "path" in place:
        folder = Path(expand_path(place["path"]))
        if not folder.is_dir():
            raise UserError(f"no model folder '{folder}'; mend `path` in the config")
        return folder
    return snapshot("model", place, MODEL_FILES, "models")


def download_model(place: Mapping[str, Any], name: str, instead: str = LOCAL_COPY) -> Path:
    """Fetch a model, or an adapter, from the hub, if it is not here yet.

    Args:
        place: `hub` and `revision`.
        name: of the model, for the error message.
        instead: as in `hub_sentence`.

    Returns:
        Its folder in the hub's cache, which is named after the commit.

    Raises:
        UserError: it cannot be fetched.
    """
    return snapshot("model", place, [*MODEL_FILES, *CARD_FILES], name, instead, online=True)


def snapshot(
    kind: str,
    place: Mapping[str, Any],
    patterns: list[str],
    name: str,
    instead: str = LOCAL_COPY,
    *,
    online: bool = False,
) -> Path:
    """Files of a repository of the hub, in the hub's cache.

    Args:
        kind: as in `hub_sentence`.
        place: `hub` and `revision`.
        patterns: of the files that are wanted.
        name: as in `hub_sentence`.
        instead: as there.
        online: whether to fetch what is not here yet.

    Returns:
        Their folder.

    Raises:
        UserError: they are not here, or cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            place["hub"],
            revision=place["revision"],
            allow_patterns=patterns,
            local_files_only=not online,
        )
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise UserError(hub_sentence(kind, place, name, error, instead)) from error
    return Path(found)


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files of a model folder, all of those that its index names.

    Args:
        folder: with config.json.
        name: of the model, for the error message.

    Returns:
        Paths, sorted.

    Raises:
        UserError: config, weights or one of the files are missing.
    """
    read_config(folder, name)
    index, tensors = folder / "model.safetensors.index.json", {}
    if index.is_file():
        try:
            tensors = json.loads(index.read_text())["weight_map"]
            names = sorted({str(Path(file)) for file in tensors.values()})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"{name}: '{index}' is no index of weights ({error!r}); fetch the model again"
            ) from None
    else:
        names = [file.name for file in sorted(folder.glob("*.safetensors"))]
    if not names:
        raise UserError(
            f"{name}: '{folder}' has no .safetensors file, and other formats can run code when "
            "they are read; save it with model.save_pretrained(folder)"
        )
    for file in names:
        if not (folder / file).is_file():
            raise UserError(f"{name}: '{folder / file}' is missing; fetch the model again")
    files = [folder / file for file in names]
    if missing := tensors.keys() - {tensor for file in files for tensor in layout(file)}:
        raise UserError(
            f"{name}: its files lack '{min(missing)}', which '{index}' names; fetch it again"
        )
    return files


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """The config of a model.

    Args:
        folder: of the model.
        name: of the model, for the error message.

    Returns:
        What stands in config.json.

    Raises:
        UserError: it is missing, or is no JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"{name}: '{folder}' has no config.json; is it a model folder?")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{name}: '{file}' is no JSON ({error}); fetch the model again") from None
    if not isinstance(found, dict):
        raise UserError(f"{name}: '{file}' is no config of a model; fetch the model again")
    return found


def hub_sentence(
    kind: str,
    source: Mapping[str, Any],
    name: str,
    error: BaseException,
    instead: str = LOCAL_COPY,
) -> str:
    """What to say when the hub did not give a file.

    Args:
        kind: ``data set`` or ``model``.
        source: its config entry, with `hub` and `revision`.
        name: the place in the config.
        error: what the hub's client raised.
        instead: which keys a local copy goes into.

    Returns:
        One sentence: which file, why not, and which local path may stand in its place.
    """
    why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"the {kind} {source['hub']} at revision {source['revision']} could not be fetched from "
        f"the Hugging Face hub ({why}); run this step where there is internet (and HF_TOKEN is set "
        f"if access is restricted), or replace, in {name}, {instead}"
    )
