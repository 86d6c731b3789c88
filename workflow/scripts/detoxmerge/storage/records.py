"""One record per scale, with the key of what made it: a second run fills in what is missing."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import UserError
from .artefacts import read_json, require_sum, sha256, write_manifest, write_sealed


def record_path(manifest: Path, scale: str, suffix: str = ".json") -> Path:
    """The path of a scale's record, or of its payload: beside the manifest.

    Args:
        suffix: with its dot.

    Returns:
        For example `generations-scale0.5.json`.
    """
    return manifest.with_name(f"{manifest.stem}-scale{scale}{suffix}")


def chosen_scales(scales: list[str] | None, choices: Sequence[Path | str]) -> list[str]:
    """The scales to measure.

    Args:
        scales: as text for paths; None where `choices`, manifests of `select_scale`, decide.

    Returns:
        The scales, or every chosen scale once, ascending: selectors that choose the same number
        share its measurement.
    """
    if scales is not None:
        return list(scales)
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
    left_out: Mapping[str, str] | None = None,
) -> int:
    """Measure what is missing, then write the manifest; returns how many scales were measured now.

    A scale has a payload (text lines, a table) and a record: the key, the payload's checksum, and
    what `measure` returned. The record is written last, so it certifies the payload. Neither is
    declared to Snakemake: a kill, a failure or a rerun loses no scale that was finished.

    Args:
        key: scale -> what decides the numbers: protocol, checksums of edit, data, scorer.
        measure: writes the payload of a scale and returns its summary.
        payload: suffix of the payload, with its dot.
        left_out: other scale -> why it is not measured, for the manifest; None without a limit.
            The record that it may have of an earlier limit stays for the day it comes back.
    """
    num_measured, records = 0, {}
    for scale in scales:
        record, file = record_path(manifest, scale), record_path(manifest, scale, payload)
        wanted = json.loads(json.dumps(key(scale)))  # as it will be read back
        if not _is_current(record, file, wanted):
            record.unlink(missing_ok=True)  # from here on the payload is uncertain
            summary = measure(scale)
            content = {"key": wanted, "scale": scale, "payload": file.name, "sha256": sha256(file)}
            write_sealed(record, content | dict(summary))
            num_measured += 1
            print(f"scale {scale}: done", flush=True)
        records[record.name] = sha256(record)
    content = {"scales": list(scales)} | ({} if left_out is None else {"left_out": left_out})
    write_manifest(manifest, protocol=protocol, inputs=inputs, files=records, **content)
    print(f"measured {num_measured} of {len(scales)}", flush=True)
    return num_measured


def _is_current(record: Path, payload: Path, key: Mapping[str, Any]) -> bool:
    if not (record.is_file() and payload.is_file()):
        return False
    try:
        content = read_json(record)
    except UserError as error:  # measured again, as after its deletion
        print(error, flush=True)
        return False
    return content["key"] == key and content["sha256"] == sha256(payload)


def scales_left_out(manifest: Path) -> dict[str, str]:
    """Scale -> why, of those that the sweep left out (`run.sweep.within`)."""
    left_out: dict[str, str] = read_json(manifest).get("left_out", {})
    return left_out


def read_generations(lines: Path) -> pd.DataFrame:
    """Read continuations in DExperts' format, JSON lines.

    Args:
        lines: JSON lines `{"prompt": {"text": ...}, "generations": [{"text": ...}, ...]}`.

    Returns:
        A row per continuation: `prompt` and `sample` (0-based), `prompt_text`, `text`, `truncated`
        (null where it was not recorded).

    Raises:
        UserError: a line is not of that form.
    """
    rows = []
    with open(lines, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                content = json.loads(line)
                rows += [
                    (number - 1, sample, content["prompt"]["text"], g["text"], g.get("truncated"))
                    for sample, g in enumerate(content["generations"])
                ]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise UserError(
                    f"{lines}, line {number}: not of the form "
                    f'{{"prompt": {{"text": ...}}, "generations": [{{"text": ...}}]}} ({error!r})'
                ) from error
    columns = ["prompt", "sample", "prompt_text", "text", "truncated"]
    return pd.DataFrame(rows, columns=columns).astype({"truncated": "boolean"})


def read_record(manifest: Path, scale: str) -> dict[str, Any]:
    """The record of one scale, if it is the one that the manifest certifies.

    Raises:
        UserError: the manifest lacks the scale, or the record is missing or was changed.
    """
    record = record_path(manifest, scale)
    listed = read_json(manifest)["files"]
    if record.name not in listed:
        raise UserError(f"{manifest} does not hold scale {scale}; delete it and run again")
    return read_json(require_sum(record, listed[record.name], manifest))


def certified_payload(manifest: Path, scale: str) -> Path:
    """The payload of one scale, as `artefacts.certified` gives a file.

    Raises:
        UserError: as `read_record`, or the payload is missing or was changed.
    """
    record = read_record(manifest, scale)
    return require_sum(manifest.with_name(record["payload"]), record["sha256"], manifest)


def read_payload(manifest: Path, scale: str) -> pd.DataFrame:
    """The table of one scale, from a parquet payload.

    Raises:
        UserError: as `certified_payload`.
    """
    return pd.read_parquet(certified_payload(manifest, scale))
