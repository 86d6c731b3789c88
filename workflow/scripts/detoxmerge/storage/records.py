"""One record per scale, with the key of what made it: a second run does only what is missing."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import UserError
from .artefacts import read_json, sha256, write_json, write_manifest


def record_path(manifest: Path, scale: str, suffix: str = ".json") -> Path:
    """Where a scale's record, or what it stands for, lies: beside the manifest.

    Args:
        suffix: with its dot.

    Returns:
        For example `generations-scale0.5.json`.
    """
    return manifest.with_name(f"{manifest.stem}-scale{scale}{suffix}")


def chosen_scales(given: list[str] | None, choices: Sequence[Path | str]) -> list[str]:
    """The scales to be measured.

    Args:
        given: as they stand in paths; None where choices decide.

    Returns:
        What was given, or every chosen scale once, ascending; selectors that choose the same
        number share its measurement.
    """
    if given is not None:
        return list(given)
    chosen = {scale for path in choices for scale in read_json(path)["scales"]}
    return sorted(chosen, key=float)


def each_scale(
    manifest: Path,
    scales: list[str],
    *,
    key: Callable[[str], Mapping[str, Any]],
    measure: Callable[[str], Mapping[str, Any]],
    payload: str,
    protocol: Mapping[str, Any],
    inputs: list[Path],
) -> int:
    """Measure what is missing, then write the manifest.

    A scale is a payload (text lines, a table) and a record: the key, the payload's checksum, and
    what `measure` returned. The record is written last, so it certifies the payload. Neither is
    declared to Snakemake: a kill, a failure or a rerun loses no scale that was finished.

    Args:
        key: scale -> what decides the numbers: protocol, checksums of edit, data, scorer.
        measure: writes the payload of a scale and returns its summary.
        payload: suffix of the payload, with its dot.

    Returns:
        How many scales were measured now.
    """
    done, found = 0, {}
    for scale in scales:
        record, file = record_path(manifest, scale), record_path(manifest, scale, payload)
        wanted = json.loads(json.dumps(key(scale)))
        if not _is_current(record, file, wanted):
            record.unlink(missing_ok=True)  # from here on the payload is uncertain
            summary = measure(scale)
            content = {"key": wanted, "scale": scale, "payload": file.name, "sha256": sha256(file)}
            write_json(record, content | dict(summary))
            done += 1
            print(f"scale {scale}: done", flush=True)
        found[record.name] = sha256(record)
    write_manifest(manifest, protocol=protocol, inputs=inputs, files=found, scales=list(scales))
    print(f"measured {done} of {len(scales)}", flush=True)
    return done


def _is_current(record: Path, payload: Path, key: Mapping[str, Any]) -> bool:
    if not (record.is_file() and payload.is_file()):
        return False
    found = read_json(record)
    return found["key"] == key and found["sha256"] == sha256(payload)


def read_generations(lines: Path) -> pd.DataFrame:
    """Continuations in the DExperts form.

    Args:
        lines: JSON lines `{"prompt": {"text": ...}, "generations": [{"text": ...}, ...]}`.

    Returns:
        A row per continuation: `prompt` and `sample` (0-based), `prompt_text`, `text`, `truncated`
        (null where it was not recorded).

    Raises:
        UserError: a line is not of that form.
    """
    found = []
    with open(lines, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                found += [
                    (number - 1, sample, row["prompt"]["text"], g["text"], g.get("truncated"))
                    for sample, g in enumerate(row["generations"])
                ]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise UserError(
                    f"{lines}, line {number}: not of the form "
                    f'{{"prompt": {{"text": ...}}, "generations": [{{"text": ...}}]}} ({error!r})'
                ) from error
    columns = ["prompt", "sample", "prompt_text", "text", "truncated"]
    return pd.DataFrame(found, columns=columns).astype({"truncated": "boolean"})


def read_record(manifest: Path, scale: str) -> dict[str, Any]:
    """The record of one scale, the very one that the manifest certifies.

    Raises:
        UserError: the manifest does not hold the scale, or the record is not the one it holds.
    """
    record = record_path(manifest, scale)
    listed = read_json(manifest)["files"]
    if record.name not in listed:
        raise UserError(f"{manifest} does not hold scale {scale}; delete it and run again")
    if not record.is_file() or sha256(record) != listed[record.name]:
        raise UserError(f"{record} is missing or was changed; delete {manifest} and run again")
    return read_json(record)


def read_payload(manifest: Path, scale: str) -> pd.DataFrame:
    """The table behind a record.

    Raises:
        UserError: as `read_record`, or the table is not the one of the record.
    """
    found = read_record(manifest, scale)
    file = manifest.with_name(found["payload"])
    if not file.is_file() or sha256(file) != found["sha256"]:
        raise UserError(f"{file} is missing or was changed; delete {manifest} and run again")
    return pd.read_parquet(file)
