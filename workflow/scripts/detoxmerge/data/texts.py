"""Prompt sets and corpora: the texts that models are measured on, kept as they were measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..storage.artefacts import sha256, write_manifest, write_text
from .sources import origin, read_rows, require_text, unreadable_count


def prepare_prompts(alias: str, protocol: Mapping[str, Any], out: Path, lines: Path) -> None:
    """Choose the prompts of a source.

    Args:
        lines: JSON lines with `text`, one per prompt.

    Raises:
        UserError: the source cannot be read or has no text.
    """
    name, text = f"prompts.{alias}", protocol["text"]
    raw, unreadable = read_rows(protocol, name, [text])
    rows, no_text = require_text(raw, text, name)
    content = [json.dumps({"text": prompt}, ensure_ascii=False) for prompt in rows[text]]
    write_text(lines, "\n".join(content) + "\n")
    write_manifest(
        out,
        protocol=protocol,
        inputs=[],
        files={lines.name: sha256(lines)},
        origin=origin(protocol),
        counts={"num_prompts": len(rows), "num_without_text": no_text}
        | unreadable_count(unreadable),
    )
    print(f"{name}: {len(rows)} prompts, {no_text} rows without text left out")


def read_prompts(lines: Path) -> list[str]:
    """The prompts of a prompt set, in order, from JSON lines with `text`."""
    with open(lines, encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def prepare_corpus(alias: str, protocol: Mapping[str, Any], out: Path, text_file: Path) -> None:
    """Join a corpus into the one text whose perplexity is measured.

    Blank rows stay: in WikiText they separate paragraphs and are part of the joined text.

    Args:
        protocol: its source and `join`.

    Raises:
        UserError: the source cannot be read or has no text.
    """
    name, text = f"corpora.{alias}", protocol["text"]
    rows, unreadable = read_rows(protocol, name, [text])
    require_text(rows, text, name)
    joined = protocol["join"].join(rows[text].fillna(""))
    write_text(text_file, joined)
    write_manifest(
        out,
        protocol=protocol,
        inputs=[],
        files={text_file.name: sha256(text_file)},
        origin=origin(protocol),
        counts={"num_rows": len(rows), "num_characters": len(joined)}
        | unreadable_count(unreadable),
    )
    print(f"{name}: {len(rows)} rows, {len(joined)} characters")
