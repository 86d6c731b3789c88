"""How much memory a process can still take on this machine, as Linux tells it."""

from pathlib import Path

ROOT = Path("/")


def free_bytes(root: Path = ROOT) -> float | None:
    """Memory that is free: of the machine, or of the control group that this process is in.

    Files that the kernel keeps in memory count as free.

    Args:
        root: where `proc` and `sys` lie.

    Returns:
        Bytes, the least of what the limits leave; None where nothing is told.
    """
    found = [_available(root / "proc/meminfo"), *_left_by_groups(root)]
    return min((free for free in found if free is not None), default=None)


def _available(meminfo: Path) -> float | None:
    kilobytes = _table(meminfo).get("MemAvailable:")
    return None if kilobytes is None else 1024.0 * kilobytes


def _left_by_groups(root: Path) -> list[float | None]:
    """What each limited group leaves, from the process's own group up to the root of all."""
    left: list[float | None] = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top, limit, used = root / "sys/fs/cgroup", "memory.max", "anon"
        elif "memory" in controllers.split(","):  # version 1
            top, limit, used = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss"
        else:
            continue
        folder = top / path.strip("/")
        # in a container the path may be that of the host, where only the top exists
        for group in [folder, *folder.parents]:
            if not group.is_relative_to(top):
                break
            left.append(_left(group, limit, used))
    return left


def _left(group: Path, limit: str, used: str) -> float | None:
    """Limit less what is used; None for a group without a limit."""
    lines, taken = _lines(group / limit), _table(group / "memory.stat").get(used)
    if not lines or not lines[0].isdecimal() or taken is None:  # `max` is no limit
        return None
    return max(0.0, float(lines[0]) - taken)


def _table(file: Path) -> dict[str, float]:
    """Lines of a name and a number, and perhaps a unit."""
    rows = [line.split() for line in _lines(file)]
    return {row[0]: float(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
