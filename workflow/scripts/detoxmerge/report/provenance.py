"""Refuses a measurement that was made by another protocol than the configured one.

Every manifest holds the protocol it was made by and the checksums of the manifests it was made
from. Walking from a measurement to its sources finds what is stale even where Snakemake has lost
its own records.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..storage.artefacts import read_json, sha256


class Provenance:
    """Checks manifests, each once."""

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

        Args:
            path: the manifest.

        Raises:
            UserError: its protocol, or that of a source, is not the configured one, or a source
                has changed since.
        """
        if path in self._checked:
            return
        manifest = read_json(path)
        self._require_protocol(path, manifest["protocol"])
        for source, recorded in manifest["inputs"].items():
            if source not in self.expected:
                raise UserError(
                    f"{path} was made from {source}, which is no file of this study; rename what "
                    f"was renamed back, or delete {path} and run again"
                )
            if self._sum(source) != recorded:
                raise UserError(
                    f"{path} was made from another version of {source} than the one that is there; "
                    f"delete {path} and run again"
                )
            self.require(source)
        self._checked.add(path)

    def _sum(self, path: str) -> str:
        if not Path(path).is_file():
            raise UserError(f"{path} is missing; run the workflow again, it makes the file")
        if path not in self._sums:
            self._sums[path] = sha256(path)
        return self._sums[path]

    def _require_protocol(self, path: str, recorded: Mapping[str, Any]) -> None:
        if path not in self.expected:
            raise UserError(f"{path} belongs to no edit of the configured study")
        wanted = json.loads(json.dumps(self.expected[path]))
        if recorded == wanted:
            return
        key = next(k for k in sorted({*wanted, *recorded}) if wanted.get(k) != recorded.get(k))
        raise UserError(
            f"{path} was made with {key} = {recorded.get(key)!r}, and the config says "
            f"{wanted.get(key)!r}; delete it (or restore the config) and run again"
        )
