"""Where the files of models lie: local folders, and what the hub's client fetched."""

import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..plan.local import TOKENIZER_FILES, expand_path
from ..plan.weight_names import fetched_names, named_files
from ..storage.artefacts import read_json, require_sum
from .folder import NOT_FETCHED

LOCAL_COPY = "`hub` and `revision` by `path`, a local copy"
COMMIT = re.compile(r"[0-9a-f]{40}")
# `path`, or `hub` and `revision`, as a manifest has it; with `sha256` of files of the folder, and
# `manifest`, where that stands, they are compared when a model is loaded
Place = Mapping[str, Any]


def place_of(protocol: Mapping[str, Any]) -> dict[str, str]:
    """What of a protocol says where a model is: `path`, or `hub` and `revision`."""
    return {key: protocol[key] for key in ("hub", "revision", "path") if protocol[key]}


def place_in(manifest: Path, key: str = "model") -> Place:
    """Where the model of a base manifest is, or what stands under another key; with checksums."""
    return read_json(manifest)[key] | {"manifest": str(manifest)}


def require_files(folder: Path, place: Place, *, weights: bool = True) -> Path:
    """The folder of a place, once its files are found to be those of the manifest, if it has one.

    Args:
        weights: whether the large files are compared, too; they are read whole for it.

    Raises:
        UserError: a file is missing or was changed.
    """
    for name, wanted in place.get("sha256", {}).items():
        if weights or not name.endswith(".safetensors"):
            how = "restore it, or, if another model is meant, delete {}"
            require_sum(folder / name, wanted, place.get("manifest", "its manifest"), how)
    return folder


def model_folder(place: Place) -> Path:
    """Where a base model lies on this machine, without internet.

    Raises:
        UserError: it is not there.
    """
    if "path" in place:
        return folder_of("model", place, (), "models")
    return _model_snapshot(place, "models", LOCAL_COPY, online=False)


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
    return _model_snapshot(place, name, instead, online=True)


def _model_snapshot(place: Place, name: str, instead: str, *, online: bool) -> Path:
    """The folder of a model, or an adapter, in the hub's cache; nothing is fetched but what it is.

    A repository may hold the weights several times. The small files say which of them are read.
    """

    def ask(place: Place, patterns: Sequence[str], ignored: Sequence[str] = ()) -> Path:
        return snapshot("model", place, patterns, name, instead, ignored, online=online)

    folder = ask(place, ["*"], NOT_FETCHED) if online else ask(place, TOKENIZER_FILES)
    if online and not COMMIT.fullmatch(place["revision"]):
        place = {**place, "revision": folder.name}  # a branch may move meanwhile
    for names in (fetched_names, named_files):  # the index counts where there is no single file
        if wanted := [glob.escape(file) for file in names(folder)]:
            folder = ask(place, wanted)
    return folder


def snapshot(
    kind: str,
    place: Place,
    patterns: Sequence[str],
    name: str,
    instead: str = LOCAL_COPY,
    ignored: Sequence[str] = (),
    *,
    online: bool = False,
) -> Path:
    """The folder with a repository's files in the hub's cache.

    Args:
        kind: as in `hub_sentence`, like `name` and `instead`.
        place: `hub` and `revision`.
        patterns: of the files that are needed.
        ignored: patterns of those among them that are not.
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
            ignore_patterns=list(ignored),
            local_files_only=not online,
        )
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise UserError(hub_sentence(kind, place, name, error, instead)) from error
    return Path(folder)


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
