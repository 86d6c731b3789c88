"""Fine-tunes made elsewhere: checked once, then referred to by a manifest; nothing is copied."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..models.folder import weight_files
from ..models.loading import names_of_library
from ..models.places import download_model, model_folder, place_in, place_of, require_files
from ..plan.local import expand_path
from ..plan.weight_names import read_config
from ..storage.artefacts import sha256, write_manifest
from ..storage.reading import Weights
from .base import Base
from .parameter_names import require_plain, stored_names
from .task_vectors import TaskVector, open_fine_tune


def fetch_finetune(name: str, protocol: Mapping[str, Any], base: Path, out: Path) -> None:
    """Find a fine-tune, check that it belongs to its base, and write its manifest.

    Args:
        name: place of the entry in the config, for messages.
        protocol: `hub` and `revision`, or `path`.
        base: manifest of the base model.
        out: manifest with the fine-tune's `place`, `kind`, checksums and number of elements.

    Raises:
        UserError: it cannot be fetched, is broken, or was made from another base.
    """
    place = place_of(protocol)
    if "hub" in place:
        download_model(place, name)
    try:
        vector = open_given(place, loaded_base(base))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    weights = [file for file in vector.files if file.suffix == ".safetensors"]
    folder = _folder(Path(vector.label))
    shapes = [shape for _, shape in Weights(weights).layout.values()]
    write_manifest(
        out,
        protocol=protocol,
        inputs=[base],
        files={},
        kind=vector.kind,
        place=place | {"sha256": {str(f.relative_to(folder)): sha256(f) for f in vector.files}},
        num_elements=sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes),
    )
    print(f"{name}: {vector.label}, a {vector.kind} in {len(weights)} file(s)")


def loaded_base(manifest: Path) -> Base:
    """A base model by its manifest, its parameters named as when it is loaded.

    They are in the order of their names, with tied weights once and no buffers.

    Raises:
        UserError: its files are broken or changed, or hold other tensors than the loaded model.
    """
    place = place_in(manifest)
    folder = require_files(model_folder(place), place)
    weights = Weights(weight_files(folder, "base"))
    require_plain(read_config(folder, "base"), weights, str(folder))
    library = names_of_library(place)
    names = stored_names(weights, library, str(folder))
    return Base(weights.renamed(names), folder, weights, lambda: library)


def open_given(place: Mapping[str, Any], base: Base, excluded: Collection[str] = ()) -> TaskVector:
    """The task vector of a fine-tune, with the base's names of tensors.

    Args:
        place: of its manifest: `path`, or `hub` and `revision`.
        base: of `loaded_base`.
        excluded: as in `open_fine_tune`.

    Raises:
        UserError: it is gone, broken or changed, or was made from another base.
    """
    path = Path(expand_path(place["path"])) if "path" in place else model_folder(place)
    require_files(_folder(path), place)
    return open_fine_tune(path, base, excluded)


def _folder(path: Path) -> Path:
    """The folder of a fine-tune; of a vector, the one that it lies in."""
    return path.parent if path.is_file() else path
