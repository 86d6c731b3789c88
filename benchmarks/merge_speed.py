"""How fast `detoxmerge merge` is: whole processes against a plain read and write of the same files.

Makes model folders of random weights in --folder, times, deletes them; writes merge.csv beside this
file and the tables of docs/merging-speed.md. The size small needs 7 GB of disk, large 41 GB.
Run from the root: PYTHONPATH=workflow/scripts python benchmarks/merge_speed.py --folder /scratch
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import merge_page
from checkpoints import SIZES, write_model
from processes import drop, resident, run, wait_until_idle

from detoxmerge.plan.registry import OPERATORS

HERE = Path(__file__).parent
OF_MEMORY = 0.85  # inputs beyond this share cannot be warm, nor averaged in memory
QUIET, TRIES = 0.1, 5  # the share of the CPUs that others may have; runs until they have less
NEEDED = {"weighted": "weights=[{shares}]", "della": "layout=conv1d"}
NAIVE = """
import sys
from safetensors.torch import load_file, save_file
out, base, *tunes = sys.argv[1:]
base, tunes = load_file(base), [load_file(tune) for tune in tunes]
merged = {n: t - sum(tune[n] - t for tune in tunes) / len(tunes) for n, t in base.items()}
save_file(merged, out)
"""


@dataclass(frozen=True)
class Task:
    """N models of a size, and where the merge goes."""

    size: str
    folders: list[Path]  # the base first
    out: Path

    @property
    def files(self) -> list[Path]:
        """What is read."""
        return [folder / "model.safetensors" for folder in self.folders]

    @property
    def num_fine_tunes(self) -> int:
        """N."""
        return len(self.folders) - 1


def names(task: Task) -> list[str]:
    """The file to make, and those to read."""
    return [str(task.out / "model.safetensors"), *map(str, task.files)]


def plain(task: Task, threads: int) -> list[str]:
    """The plain read and write."""
    return [sys.executable, str(HERE / "plain.py"), str(threads), *names(task)]


def ours(task: Task, operator: str, workers: int) -> list[str]:
    """The command line of this project."""
    base, *fine_tunes = map(str, task.folders)
    command = [sys.executable, "-m", "detoxmerge", "merge", "--base", base]
    command += [x for fine_tune in fine_tunes for x in ("--fine-tune", fine_tune)]
    command += ["--operator", operator, "--scale", "1", "--out", str(task.out)]
    if operator in NEEDED:
        shares = ",".join([str(1 / task.num_fine_tunes)] * task.num_fine_tunes)
        command += ["--set", NEEDED[operator].format(shares=shares)]
    return [*command, "--workers", str(workers)]


def theirs(task: Task, mergekit: Path, exact: bool) -> list[str]:
    """mergekit's, lazily; exact: in fp32, whatever the files have."""
    base, *fine_tunes = map(str, task.folders)
    weight = {"weight": 1 / task.num_fine_tunes}
    config = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "models": [{"model": fine_tune, "parameters": weight} for fine_tune in fine_tunes],
        "parameters": {"normalize": False, "lambda": -1.0},
    }
    if exact:
        config |= {"dtype": "float32", "out_dtype": SIZES[task.size].config["dtype"]}
    written = task.out.with_suffix(".yaml")
    written.write_text(json.dumps(config))  # which is YAML, too
    flags = ["--lazy-unpickle", "--no-copy-tokenizer", "--no-write-model-card", "--quiet"]
    return [str(mergekit), str(written), str(task.out), *flags]


def methods(task: Task, mergekit: Path | None) -> dict[str, list[str]]:
    """Name and command of all that average."""
    found = {f"plain, {t}": plain(task, t) for t in (1, 2)}
    found |= {f"ours, {t}": ours(task, "mean", t) for t in (1, 2)}
    if mergekit:
        found["mergekit"] = theirs(task, mergekit, exact=False)
        if SIZES[task.size].dtype != "F32":
            found["mergekit, fp32"] = theirs(task, mergekit, exact=True)
    if 3 * len(task.files) * SIZES[task.size].num_bytes < memory_bytes():
        found["naive"] = [sys.executable, "-c", NAIVE, *names(task)]
    return found


def memory_bytes() -> int:
    """Of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def measure(task: Task, state: str, method: str, command: list[str]) -> dict[str, object]:
    """One run: a row of merge.csv. It is done again if other processes were busy meanwhile."""
    env = dict(os.environ) | {"HF_HUB_OFFLINE": "1"}
    if method.startswith("mergekit"):
        env.pop("PYTHONPATH", None)
    for _ in range(TRIES):
        wait_until_idle(QUIET)
        # once without the clock, so that each finds the disk's and the machine's memory as the
        # others do: pages that lay idle are slow to get back
        task.out.mkdir()
        run(plain(task, 2), env)
        shutil.rmtree(task.out)
        if state == "cold":
            drop(task.files)
        if not method.startswith("ours"):
            task.out.mkdir()
        cached = resident(task.files)
        usage = run(command, env)
        shutil.rmtree(task.out)
        if usage.others < QUIET:
            break
    key = {"size": task.size, "n": task.num_fine_tunes, "state": state, "method": method}
    row = key | {k: round(v, 3) for k, v in asdict(usage).items()} | {"cached": round(cached, 3)}
    print(*row.values(), flush=True)
    return row


def time_methods(task: Task, asked: argparse.Namespace) -> Iterator[dict[str, object]]:
    """All that average, in turn, so that a slow minute of the machine falls on all."""
    fits = len(task.files) * SIZES[task.size].num_bytes < OF_MEMORY * memory_bytes()
    states = ["warm", "cold"] if fits else ["cold"]
    named = methods(task, asked.mergekit)
    every = [(name, named[name]) for name in asked.methods or named if name in named]
    for i in range(repeats(task, asked)):
        for state in states:
            for method, command in every[i % len(every) :] + every[: i % len(every)]:
                yield measure(task, state, method, command)


def time_operators(task: Task, asked: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Every operator with two workers, after the plain read and write."""
    wanted = {"plain, 2": plain(task, 2)}
    wanted |= {f"ours: {name}": ours(task, name, 2) for name in asked.operators}
    for state in ["warm", "cold"] if task.size != "large" else ["warm"]:
        for _ in range(max(1, repeats(task, asked) // 2)):
            for method, command in wanted.items():
                yield measure(task, state, method, command)


def repeats(task: Task, asked: argparse.Namespace) -> int:
    """How often: a size that takes minutes half as often."""
    return asked.repeats if task.size != "large" else -(-asked.repeats // 2)


def time_size(size: str, asked: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Make the models of a size, time all, and delete them."""
    folder = asked.folder / f"detoxmerge-{size}"
    needed = (max(asked.counts) + 3) * SIZES[size].num_bytes
    if shutil.disk_usage(asked.folder).free < needed:
        sys.exit(f"{asked.folder}: {size} needs {needed / 1e9:.0f} GB")
    try:
        models = [folder / f"model{i:02}" for i in range(max(asked.counts) + 1)]
        for i, model in enumerate(models):
            write_model(SIZES[size], i, model)
        for n in asked.counts:
            task = Task(size, models[: n + 1], folder / "out")
            yield from time_methods(task, asked)
            if asked.operators and (size, n) != ("large", 10):
                yield from time_operators(task, asked)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(rows: list[dict[str, object]]) -> list[dict[str, str]]:
    """Medians into merge.csv, in place of what it has of the same; all that it has then."""
    keys, path = ("size", "n", "state", "method"), HERE / "merge.csv"
    old = list(csv.DictReader(path.open())) if path.exists() else []
    found = {tuple(row[k] for k in keys): row for row in old}
    runs: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for row in rows:
        runs.setdefault(tuple(str(row[k]) for k in keys), []).append(row)
    for key, same in runs.items():
        figures = [name for name in same[0] if name not in keys]
        median = {f: str(round(statistics.median(r[f] for r in same), 3)) for f in figures}
        found[key] = dict(zip(keys, key, strict=True)) | median | {"runs": str(len(same))}
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, next(iter(found.values())).keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found.values())
    return list(found.values())


def numbers(text: str) -> list[int]:
    """Of an option."""
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("."), help="on the disk to be timed")
    parser.add_argument("--sizes", type=lambda s: s.split(","), default=["small", "large"])
    parser.add_argument("--repeats", type=int, default=5, help="of large: half of it")
    parser.add_argument("--counts", type=numbers, default=[5, 10], help="values of N")
    parser.add_argument(
        "--methods", type=lambda s: s.split("; "), help="as in merge.csv, 'plain, 2' among them"
    )
    parser.add_argument("--operators", default="all", help="names, all or none")
    parser.add_argument("--mergekit", type=Path, help="the program mergekit-yaml")
    asked = parser.parse_args()
    named = {"all": sorted(OPERATORS), "none": []}
    asked.operators = named.get(asked.operators, asked.operators.split(","))
    if not asked.mergekit:
        print("WITHOUT mergekit: name its mergekit-yaml by --mergekit", file=sys.stderr)
    for size in asked.sizes:
        rows = keep(list(time_size(size, asked)))
        merge_page.write(rows, asked.mergekit)
