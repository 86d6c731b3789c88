"""Whole processes, timed, with their memory; and files in and out of the page cache."""

import ctypes
import mmap
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_SECONDS = 0.02
# of /proc/PID/status; where several processes share pages, of smaps_rollup, which counts each once
FIELDS = {"RssAnon": "Pss_Anon", "RssFile": "Pss_File", "VmHWM": "Pss"}


@dataclass(frozen=True)
class Usage:
    """Of one process from start to exit, with its children."""

    seconds: float
    anonymous_mb: float  # highest sample: what the processes themselves hold
    file_mb: float  # highest sample: mapped pages of files, which the page cache holds anyway
    peak_mb: float  # both together at their highest, by the kernel's count where there is one
    others: float  # the share of the machine's CPUs that other processes took meanwhile


def run(command: list[str], env: Mapping[str, str]) -> Usage:
    """Run a command.

    Args:
        command: program and arguments.
        env: its whole environment.

    Returns:
        Time and memory.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    highest, stop = dict.fromkeys(FIELDS, 0), threading.Event()
    begun, busy, own = time.perf_counter(), _busy(), _own()
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        sampler = threading.Thread(target=_sample, args=(process.pid, highest, stop))
        sampler.start()
        said = process.stdout.read()  # to its end, which is about that of the process
        process.wait()
        seconds = time.perf_counter() - begun
        stop.set()
        sampler.join()
    others = (_busy() - busy - (_own() - own)) / (time.perf_counter() - begun) / os.cpu_count()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said[-2000:]}")
    memory = (1024 * kilobytes / 1e6 for kilobytes in highest.values())
    return Usage(seconds, *memory, max(0.0, others))


def wait_until_idle(share: float, patience: float = 600) -> None:
    """Wait until all processes together take less than a share of the CPUs, or patience ends."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        before, begun = _busy(), time.perf_counter()
        time.sleep(1)
        if (_busy() - before) / (time.perf_counter() - begun) / os.cpu_count() < share:
            return


def _busy() -> float:
    """CPU seconds of all, stolen ones included, since the machine started."""
    user, nice, system, _, _, *interrupts = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """CPU seconds of this process and of those that it waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _sample(pid: int, highest: dict[str, int], stop: threading.Event) -> None:
    while not stop.wait(SAMPLE_SECONDS):
        tree = list(_tree(pid))
        file = "status" if len(tree) == 1 else "smaps_rollup"
        lines = [_kilobytes(Path(f"/proc/{one}/{file}")) for one in tree]
        for field, shared in FIELDS.items():
            name = field if len(tree) == 1 else shared
            highest[field] = max(highest[field], sum(of_one.get(name, 0) for of_one in lines))


def _tree(pid: int) -> Iterable[int]:
    yield pid
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        lists = [Path(f"/proc/{pid}/task/{task}/children").read_text() for task in tasks]
    except OSError:  # ended meanwhile
        return
    for child in " ".join(lists).split():
        yield from _tree(int(child))


def _kilobytes(file: Path) -> dict[str, int]:
    """Those lines of a file of /proc that are in kB."""
    try:
        lines = file.read_text().splitlines()
    except OSError:  # ended meanwhile
        return {}
    pairs = (line.split(":", 1) for line in lines if line.endswith(" kB"))
    return {name: int(value.split()[0]) for name, value in pairs}


def drop(paths: Iterable[Path]) -> None:
    """Take files out of the page cache; those that are on the disk leave it."""
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(paths: Iterable[Path]) -> float:
    """The share of some files that is in the page cache, by mincore."""
    libc = ctypes.CDLL(None, use_errno=True)
    there = pages = 0
    for path in paths:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as mapped:
            count = -(-len(mapped) // mmap.PAGESIZE)
            states = (ctypes.c_ubyte * count)()
            start = ctypes.c_char.from_buffer(mapped)
            failed = libc.mincore(
                ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(mapped)), states
            )
            del start
            if failed:
                raise OSError(ctypes.get_errno(), "mincore")
            there += int((np.frombuffer(states, np.uint8) & 1).sum())
            pages += count
    return there / pages
