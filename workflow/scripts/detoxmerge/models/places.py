"""Where the files of models lie: local folders, and what the hub's client fetched."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..plan.local import CARD_FILES, MODEL_FILES, expand_path

LOCAL_COPY = "`hub` and `revision` by `path`, a local copy"
Place = Mapping[str, Any]  # `path`, or `hub` and `revision`, as a manifest has it


def place_of(protocol: Mapping[str, Any]) -> dict[str, str]:
    """What of a protocol says where a model is: `path`, or `hub` and `revision`."""
    return {key: protocol[key] for key in ("hub", "revision", "path") if protocol[key]}


def model_folder(place: Place) -> Path:
    """Where a base model lies on this machine, without internet.

    Raises:
        UserError: it is not there.
    """
    return folder_of("model", place, MODEL_FILES, "models")


def folder_of(
    kind: str, place: Place, patterns: Sequence[str], name: str, instead: str = LOCAL_COPY
) -> Path:
    """The folder of a place on this machine, without internet.

    Args:
        kind: as in `hub_sentence`, like `name` and `instead`.
        patterns: of the files that are needed of a hub's repository.

    Raises:
        UserError: it is not there.
    """
    if "path" not in place:
        return snapshot(kind, place, patterns, name, instead)
    folder = Path(expand_path(place["path"]))
    if not folder.is_dir():
        raise UserError(f"no {kind} folder '{folder}'; mend its path in the config")
    return folder


def download_model(place: Place, name: str, instead: str = LOCAL_COPY) -> Path:
    """Fetch a model, or an adapter, from the hub, if it is not here yet.

    Args:
        place: `hub` and `revision`.
        name: as in `hub_sentence`, like `instead`.

    Returns:
        Its folder in the hub's cache, which is named after the commit.

    Raises:
        UserError: it cannot be fetched.
    """
    return snapshot("model", place, [*MODEL_FILES, *CARD_FILES], name, instead, online=True)


def snapshot(
    kind: str,
    place: Place,
    patterns: Sequence[str],
    name: str,
    instead: str = LOCAL_COPY,
    *,
    online: bool = False,
) -> Path:
    """The folder with a repository's files in the hub's cache.

    Args:
        kind: as in `hub_sentence`, like `name` and `instead`.
        place: `hub` and `revision`.
        patterns: of the files that are needed.
        online: whether to fetch what is not here yet.

    Raises:
        UserError: the files are not here, or cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            place["hub"],
            revision=place["revision"],
            allow_patterns=list(patterns),
            local_files_only=not online,
        )
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise UserError(hub_sentence(kind, place, name, error, instead)) from error
    return Path(folder)


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files of a model folder, all of those that its index names.

    Args:
        name: of the model, for the error message.

    Returns:
        Paths, sorted.

    Raises:
        UserError: config, weights or one of the files are missing.
    """
    from ..storage.tensors import layout  # with numpy, which the Snakefile does without

    read_config(folder, name)
    # a model in several files has an index, which shows whether one of them is missing
    index, tensors = folder / "model.safetensors.index.json", {}
    if index.is_file():
        try:
            tensors = json.loads(index.read_text())["weight_map"]
            names = sorted({str(Path(file)) for file in tensors.values()})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"{name}: '{index}' is not an index of weights ({error!r}); fetch the model again"
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
    # a file can be complete and still belong to another version than the index
    files = [folder / file for file in names]
    if missing := tensors.keys() - {tensor for file in files for tensor in layout(file)}:
        raise UserError(
            f"{name}: its files lack '{min(missing)}', which '{index}' names; fetch it again"
        )
    return files


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """What config.json in a model's folder says.

    Args:
        name: of the model, for the error message.

    Raises:
        UserError: it is missing, or is not a JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"{name}: '{folder}' has no config.json; is it a model folder?")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{name}: '{file}' is not JSON ({error}); fetch the model again") from None
    if not isinstance(config, dict):
        raise UserError(f"{name}: '{file}' is not the config of a model; fetch the model again")
    return config


def hub_sentence(
    kind: str,
    source: Mapping[str, Any],
    name: str,
    error: BaseException,
    instead: str = LOCAL_COPY,
) -> str:
    """One sentence for a file that the hub did not give: which, why not, what to do instead.

    Args:
        kind: what it is: ``data set``, ``model`` or ``tokenizer``.
        source: `hub` and `revision`.
        name: the place in the config.
        error: what the hub's client raised.
        instead: which keys of the config a local copy would replace.
    """
    why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"the {kind} {source['hub']} at revision {source['revision']} could not be fetched from "
        f"the Hugging Face hub ({why}); run this step where there is internet (and HF_TOKEN is set "
        f"if access is restricted), or replace, in {name}, {instead}"
    )
