"""Manifests for tests, with the checksums of what lies beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from detoxmerge.storage.artefacts import sha256, write_manifest, write_sealed
from detoxmerge.storage.records import record_path


def manifest(path: Path, *names: str, **content: Any) -> Path:
    """A manifest that lists files beside it."""
    files = {name: sha256(path.with_name(name)) for name in names}
    write_manifest(path, **{"protocol": {}, "inputs": [], **content, "files": files})
    return path


def measured(path: Path, payloads: Mapping[str, str | pd.DataFrame], **content: Any) -> Path:
    """A manifest with a record for each scale, in the form of `records.each_scale`.

    Args:
        payloads: scale -> JSON lines or a table.
        content: of the manifest; `key` is that of the records.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    key, names = content.pop("key", {}), []
    for scale, payload in payloads.items():
        file = record_path(path, scale, ".jsonl" if isinstance(payload, str) else ".parquet")
        if isinstance(payload, str):
            file.write_text(payload)
        else:
            payload.to_parquet(file)
        record = {"key": key, "scale": scale, "payload": file.name, "sha256": sha256(file)}
        write_sealed(record_path(path, scale), record)
        names.append(record_path(path, scale).name)
    return manifest(path, *names, scales=list(payloads), **content)
