"""The tables of docs/merging-speed.md, from the rows of merge.csv."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from checkpoints import SIZES
from page import put, table

PAGE = Path(__file__).parent.parent / "docs" / "merging-speed.md"
BY = "benchmarks/merge_speed.py"
NAMES = {
    "plain, 1": "plain read and write, 1 thread",
    "plain, 2": "plain read and write, 2 threads",
    "ours, 1": "`detoxmerge merge`, 1 worker",
    "ours, 2": "`detoxmerge merge`, 2 workers",
    "mergekit": "mergekit",
    "mergekit, fp32": "mergekit, computing in fp32",
    "naive": "all state dicts in memory",
}
HEAD = (
    "N", "what", "warm s", "of plain", "cold s", "of plain",
    "anonymous MB", "file-backed MB", "runs",
)  # fmt: skip
VERSIONS = (
    "import torch, transformers, safetensors, numpy; from importlib.metadata import version;"
    "print(', '.join(f'{n} {version(n)}' for n in ('mergekit', 'torch', 'safetensors', 'numpy')))"
)
Row = dict[str, str]


def write(rows: list[Row], mergekit: Path | None) -> None:
    """Put all tables into the page.

    Args:
        rows: of merge.csv.
        mergekit: the program, if it was timed.
    """
    put(PAGE, "machine", machine(mergekit), BY)
    for size in SIZES:
        if any(row["size"] == size for row in rows):
            put(PAGE, size, methods([row for row in rows if row["size"] == size]), BY)
    if any(":" in row["method"] for row in rows):
        put(PAGE, "operators", operators(rows), BY)


def machine(mergekit: Path | None) -> str:
    """What it was timed on, and with which versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    ours = ", ".join(f"{name} {version(name)}" for name in ("numpy", "safetensors", "torch"))
    said = f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GB; Python {platform.python_version()}, "
    if mergekit:
        command = [mergekit.with_name("python"), "-c", VERSIONS]
        theirs = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        ours += f"; mergekit's environment: {theirs}"
    return said + ours + "."


def methods(rows: list[Row]) -> str:
    """What averages, of one size."""
    found = {(row["n"], row["state"], row["method"]): row for row in rows}
    lines = []
    for n in sorted({row["n"] for row in rows}, key=int):
        for method, name in NAMES.items():
            states = [found.get((n, state, method)) for state in ("warm", "cold")]
            there = [row for row in states if row]
            if not there:
                continue
            times = []
            for row in states:
                floor = (
                    row and found[n, row["state"], "plain, 1" if method[-1] == "1" else "plain, 2"]
                )
                times += [seconds(row), ratio(row, floor)] if row else ["", ""]
            memory = [max(float(row[f]) for row in there) for f in ("anonymous_mb", "file_mb")]
            runs = max(int(row["runs"]) for row in there if ":" not in method)
            lines.append((n, name, *times, *(f"{mb:,.0f}" for mb in memory), runs))
    return table(HEAD, lines)


def operators(rows: list[Row]) -> str:
    """Every operator, with two workers."""
    found = {(row["size"], row["n"], row["state"], row["method"]): row for row in rows}
    names = sorted({row["method"] for row in rows if row["method"].startswith("ours: ")})
    columns = list(dict.fromkeys(key[:3] for key in found if key[3] in names))
    head = ["operator"]
    for size, n, state in columns:
        head += [f"{size}, N = {n}, {state}: s", "of plain", "anonymous MB"]
    lines = []
    for name in names:
        line: list[object] = [f"`{name.removeprefix('ours: ')}`"]
        for column in columns:
            row, floor = (found.get((*column, m)) for m in (name, "plain, 2"))
            if row and floor:
                line += [seconds(row), ratio(row, floor), f"{float(row['anonymous_mb']):,.0f}"]
            else:
                line += ["", "", ""]
        lines.append(tuple(line))
    return table(tuple(head), lines)


def seconds(row: Row) -> str:
    """With two digits at least."""
    value = float(row["seconds"])
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def ratio(row: Row, floor: Row) -> str:
    """Of two times."""
    return f"{float(row['seconds']) / float(floor['seconds']):.2f}"
