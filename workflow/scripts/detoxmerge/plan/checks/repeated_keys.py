"""Keys that stand twice in a file of the config: YAML keeps the last of them without a word."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml


def repeated_keys(files: Iterable[Path | str]) -> list[str]:
    """What a config loses before anybody sees it.

    Args:
        files: of the config, YAML or JSON; those that are not there, or are no YAML, are passed
            over, as Snakemake tells of them.

    Returns:
        One sentence per key.
    """
    found = []
    for file in filter(Path.is_file, map(Path, files)):
        try:
            root = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        for key in _repeated(root, set()):
            line = key.start_mark.line + 1
            found.append(f"{file}, line {line}: '{key.value}' stands there twice; leave one out")
    return found


def _repeated(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.Node]:
    """Keys of a mapping that it had before; what aliases point to is looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from _repeated(one, seen)
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                yield key
            keys |= {key.value} if isinstance(key, yaml.ScalarNode) else set()
            yield from _repeated(value, seen)
