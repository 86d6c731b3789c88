"""The licence of a base model, as far as its own files state it; nothing is guessed."""

import re
from pathlib import Path
from typing import Any

import yaml

from ..plan.local import LICENSE_FILES

KEYS = ("license", "license_name", "license_link")
# the first words of a licence's text -> its identifier on the Hugging Face hub
TITLES = {
    "mit license": "mit",
    "the mit license (mit)": "mit",
    "apache license version 2.0, january 2004": "apache-2.0",
}


def license_files(folder: Path) -> list[Path]:
    """Files of a model folder that hold its licence or belong to it, sorted; in any case."""
    names = {name.lower() for name in LICENSE_FILES}
    return sorted(f for f in folder.iterdir() if f.is_file() and f.name.lower() in names)


def license_of(folder: Path) -> dict[str, Any]:
    """The licence that a model folder states: in the header of its card, else in a LICENSE file.

    Returns:
        `license`, and `license_name` and `license_link` if there are any, as in the header of a
        Hugging Face model card; `told_by`, the file that states it, None if no file does.
    """
    header = _header(folder / "README.md")
    if header.get("license"):
        return {key: header[key] for key in KEYS if key in header} | {"told_by": "README.md"}
    texts = [
        f for f in license_files(folder) if f.stem.lower() in ("license", "licence", "copying")
    ]
    if not texts:
        return {"license": "other", "license_name": "unknown", "told_by": None}
    file = texts[0]
    words = " ".join(file.read_text(encoding="utf-8", errors="replace").lower().split())
    for title, name in TITLES.items():
        if words.startswith(title):
            return {"license": name, "told_by": file.name}
    unnamed = {"license": "other", "license_name": "see-the-license-file"}
    return unnamed | {"license_link": file.name, "told_by": file.name}


def _header(card: Path) -> dict[str, Any]:
    """The YAML between the two lines `---` at the top of a model card; empty if there is none."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        header = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        print(f"the header of {card} is not YAML, so no licence is read from it: {error}")
        header = {}
    return header if isinstance(header, dict) else {}
