"""The licence of a base model, as far as its own files tell it; nothing is guessed."""

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
    """Files of a model folder that hold its licence or belong to it.

    Args:
        folder: of the model.

    Returns:
        Paths, sorted; names are compared without regard to case.
    """
    names = {name.lower() for name in LICENSE_FILES}
    return sorted(f for f in folder.iterdir() if f.is_file() and f.name.lower() in names)


def license_of(folder: Path) -> dict[str, Any]:
    """The licence that a model folder tells: by the header of its card, else by a LICENSE file.

    Args:
        folder: of the model.

    Returns:
        `license`, and where there are any `license_name` and `license_link`, as in the header of a
        Hugging Face model card; `told_by`, the file that tells it, None if there is none.
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
    found = {"license": "other", "license_name": "see-the-license-file"}
    return found | {"license_link": file.name, "told_by": file.name}


def _header(card: Path) -> dict[str, Any]:
    """The YAML between the two lines `---` that open a model card; empty if there is none."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    found = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        header = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        print(f"the header of {card} is no YAML and tells no licence: {error}")
        header = {}
    return header if isinstance(header, dict) else {}
