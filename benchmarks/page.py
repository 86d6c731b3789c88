"""Tables in the pages of docs: what benchmarks put between the marks of a name."""

from pathlib import Path

MACHINE_BY = "the benchmarks of this page"  # where several write what machine it was
MARKS = "<!-- {}: made by {} -->\n", "\n<!-- end of {} -->"


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def put(page: Path, name: str, content: str, by: str) -> None:
    """Replace what a page has between the marks of a name; without marks, append them.

    Args:
        page: a file of docs.
        name: of what is put there.
        content: markdown.
        by: the script that makes it, as the marks say.
    """
    begin, end = MARKS[0].format(name, by), MARKS[1].format(name)
    text = page.read_text()
    if begin not in text:
        text = text.rstrip("\n") + "\n\n" + begin + end + "\n"
    before, _, rest = text.partition(begin)
    page.write_text(before + begin + content + end + rest.partition(end)[2])
