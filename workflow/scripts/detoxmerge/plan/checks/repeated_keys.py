"""Keys that a file of the config has twice: YAML keeps the last of them and says nothing."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml


def repeated_keys(files: Iterable[Path | str]) -> list[str]:
    """A sentence for each key whose earlier value is lost.

    Args:
        files: of the config, YAML or JSON; those that are missing or not YAML are skipped, as
            Snakemake reports them.
    """
    sentences = []
    for file in filter(Path.is_file, map(Path, files)):
        try:
            root = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        for key in _repeated(root, set()):
            line = key.start_mark.line + 1
            sentences.append(f"{file}, line {line}: '{key.value}' is there twice; leave one out")
    return sentences


def _repeated(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.Node]:
    """Keys that their mapping had before; what YAML aliases point to is visited once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, seen)
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                yield key
            keys |= {key.value} if isinstance(key, yaml.ScalarNode) else set()
            yield from _repeated(value, seen)
