"""Refuses a measurement that was not made by the configured protocol, or whose data are gone.

Every manifest holds the protocol it was made by and the checksums of the manifests it was made
from, and of what lies beside it. A walk from a measurement to its sources finds what is stale, even
if Snakemake has lost its own records, and texts and tables that were lost or changed. Tensors are
left to the jobs that read them: they are large, and may be deleted once nothing reads them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..storage.artefacts import certified, read_json, require_sum, sha256

TEXTS_AND_TABLES = (".json", ".jsonl", ".txt", ".csv", ".parquet")


class Provenance:
    """Checks manifests and their sources, each once."""

    def __init__(self, expected: Mapping[str, Mapping[str, Any]]) -> None:
        """
        Args:
            expected: manifest -> its configured protocol (`plan.expected.expected_protocols`).
        """
        self.expected = expected
        self._checked: set[str] = set()
        self._sums: dict[str, str] = {}

    def require(self, path: str) -> None:
        """Check a manifest and everything it was made from.

        Raises:
            UserError: its protocol, or that of a source, is not the configured one, a source has
                changed since, or a text or table of one of them is missing or was changed.
        """
        if path in self._checked:
            return
        manifest = read_json(path)
        self._require_protocol(path, manifest["protocol"])
        for source, recorded in manifest["inputs"].items():
            if source not in self.expected:
                raise UserError(
                    f"{path} was made from {source}, which is not a file of this study; undo the "
                    f"renaming, or delete {path} and run again"
                )
            if self._sum(source) != recorded:
                raise UserError(
                    f"{path} was made from another version of {source} than the present one; "
                    f"delete {path} and run again"
                )
            self.require(source)
        _require_payloads(Path(path), manifest["files"])
        self._checked.add(path)

    def _sum(self, path: str) -> str:
        if not Path(path).is_file():
            raise UserError(f"{path} is missing; run the workflow again, which makes it")
        if path not in self._sums:
            self._sums[path] = sha256(path)
        return self._sums[path]

    def _require_protocol(self, path: str, recorded: Mapping[str, Any]) -> None:
        if path not in self.expected:
            raise UserError(f"{path} belongs to no edit of the configured study")
        # as in the manifest: tuples become lists
        wanted = json.loads(json.dumps(self.expected[path]))
        if recorded == wanted:
            return
        keys = sorted({*wanted, *recorded})
        key = next(key for key in keys if wanted.get(key) != recorded.get(key))
        raise UserError(
            f"{path} was made with {key} = {recorded.get(key)!r}, and the config says "
            f"{wanted.get(key)!r}; delete it (or restore the config) and run again"
        )


def _require_payloads(manifest: Path, files: Mapping[str, str]) -> None:
    for name in [name for name in files if name.endswith(TEXTS_AND_TABLES)]:
        file = certified(manifest, name)
        record = read_json(file) if name.endswith(".json") else {}
        if "payload" in record:  # of one scale
            require_sum(manifest.with_name(record["payload"]), record["sha256"], manifest)
