"""Measuring a vector against reading its file and against its SHA-256 alone: prints a table.

Run from the root: PYTHONPATH=workflow/scripts python benchmarks/parameter_change.py --folder FOLDER
The file lies in the page cache when it is read. Times are medians of several rounds, in each of
which everything runs once; memory is the most that the process had, its libraries among it.
"""

import argparse
import contextlib
import math
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from detoxmerge.measure.change import parameter_change
from detoxmerge.storage.artefacts import sha256, write_json
from detoxmerge.storage.writing import write_tensors

MODELS = {"GPT-2 small": (768, 12), "GPT-2 XL": (1600, 48)}  # width, layers
READ = 1 << 22  # bytes at a time
PART = 1 << 20  # of a tensor that are drawn at a time


def shapes(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a GPT-2, without biases and norms."""
    found: dict[str, tuple[int, ...]] = {"wte.weight": (50257, width), "wpe.weight": (1024, width)}
    for i in range(layers):
        found |= {f"h.{i}.attn.c_attn.weight": (width, 3 * width)}
        found |= {f"h.{i}.attn.c_proj.weight": (width, width)}
        found |= {f"h.{i}.mlp.c_fc.weight": (width, 4 * width)}
        found |= {f"h.{i}.mlp.c_proj.weight": (4 * width, width)}
    return found


def build(folder: Path, width: int, layers: int) -> Path:
    """A vector of Gaussian noise of 1e-4, and the part of its manifest that is read."""
    file, rng = folder / "delta.safetensors", np.random.default_rng(0)
    with write_tensors(file, shapes(width, layers)) as writer:
        for shape in shapes(width, layers).values():
            left = math.prod(shape)
            while left:
                part = rng.standard_normal(min(left, PART), np.float32)
                part *= np.float32(1e-4)
                writer.write(part)
                left -= part.size
    made = {"dataset": "d", "method": "merge", "setting": "n=1", "params": {"n": 1}, "seed": "1"}
    write_json(folder / "edit.json", made | {"tensors": {"sha256": writer.sha256}})
    return file


def read(file: Path) -> None:
    """The whole file into one buffer, again and again."""
    buffer, at = bytearray(READ), 0
    handle = os.open(file, os.O_RDONLY)
    while got := os.preadv(handle, [buffer], at):
        at += got
    os.close(handle)


def resident_mb() -> dict[str, float]:
    """Anonymous and file-backed memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    pairs = dict(line.split(":", 1) for line in lines if ":" in line)
    return {key: int(pairs[key].split()[0]) * 1024 / 1e6 for key in ("RssAnon", "RssFile")}


@contextlib.contextmanager
def watched(peak: dict[str, float]) -> Iterator[None]:
    """Note the most memory in `peak`, looked at a hundred times a second."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            for key, size in resident_mb().items():
                peak[key] = max(peak.get(key, 0.0), size)

    thread = threading.Thread(target=look)
    thread.start()
    yield
    done.set()
    thread.join()


def timed(function: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rows(model: str, folder: Path, rounds: int) -> Iterator[list[str]]:
    """Lines of the table, one per number of workers."""
    file = build(folder, *MODELS[model])
    count = sum(math.prod(shape) for shape in shapes(*MODELS[model]).values())

    def measure(workers: int) -> None:
        with contextlib.redirect_stdout(None):
            out, table = folder / "change.json", folder / "change.parquet"
            parameter_change(folder / "edit.json", file, {}, out, table, workers)

    jobs: dict[str, Callable[[], object]] = {
        "read": lambda: read(file),
        "sha256": lambda: sha256(file),
        "1": lambda: measure(1),
        "2": lambda: measure(2),
    }
    read(file)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    peaks: dict[str, dict[str, float]] = {name: {} for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            with watched(peaks[name]):
                seconds[name].append(timed(job))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for workers in ("1", "2"):
        took, peak = medians[workers], peaks[workers]
        yield [
            model,
            f"{count / 1e6:.0f} M",
            workers,
            f"{medians['read']:.2f}",
            f"{medians['sha256']:.2f}",
            f"{took:.2f}",
            f"{took / medians['read']:.1f}",
            f"{took / medians['sha256']:.2f}",
            f"{peak['RssAnon']:.0f}",
            f"{peak['RssFile']:.0f}",
        ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the vectors are made; none: a temporary")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    head = ["vector", "weights", "workers", "read, s", "SHA-256, s", "measured, s"]
    head += ["times read", "times SHA-256", "anonymous, MB", "file-backed, MB"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for model in args.models:
        with tempfile.TemporaryDirectory(dir=args.folder) as place:
            for row in rows(model, Path(place), args.rounds):
                print("| " + " | ".join(row) + " |", flush=True)
