"""How fast edited models generate: tokens per second of each verb against the base model.

Makes models of random weights in --folder, times them in turn, deletes them; writes
edits_generation.csv beside this file and tables of docs/speed.md. The size small needs 3 GB of
disk, 4 GB of memory and some minutes. Run from the root:
PYTHONPATH=workflow/scripts python benchmarks/edits_generation.py --sizes tiny
"""

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path

import transformers
from edits import Edit, make_edits
from merge_page import machine
from page import MACHINE_BY, put, table
from processes import wait_until_idle

from detoxmerge.data.generated import prompts
from detoxmerge.edit.edited import EditedModel
from detoxmerge.models.loading import load_tokenizer
from detoxmerge.models.sampling import continuations
from detoxmerge.plan.catalogue import Generation
from detoxmerge.plan.entries import protocol

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"
BY = "benchmarks/edits_generation.py"
QUIET, PATIENCE = 0.1, 5  # the share of the CPUs that others may have; seconds to wait for it
AT_LEAST = 2.0  # seconds; what takes less is done again, and its best time counts
Row = dict[str, str]


def seconds(edit: Edit, rows: int, sampling: Generation, device: str) -> tuple[float, float]:
    """Time one edit: it is loaded and has generated once before.

    Args:
        edit: which one.
        rows: continuations, all in one batch, one per prompt.
        sampling: the protocol.
        device: ``cpu`` or ``cuda``.

    Returns:
        Seconds for all continuations, and forward passes per token.
    """
    edited = EditedModel(edit.path, device=device)
    model, asked = edited.at(edit.scale), edited.sampling(edit.scale)
    tokenizer, texts = load_tokenizer(edited.place), [row["text"] for row in prompts(rows, 1)]
    short = protocol(sampling.model_copy(update={"new_tokens": 2}))
    continuations(model, tokenizer, texts, short, rows, asked)
    wait_until_idle(QUIET, PATIENCE)
    taken: list[float] = []
    while sum(taken) < AT_LEAST:
        begun = time.perf_counter()
        continuations(model, tokenizer, texts, protocol(sampling), rows, asked)
        taken.append(time.perf_counter() - begun)
    return min(taken), edited.verb.forwards(edit.scale)


def time_size(size: str, asked: argparse.Namespace) -> list[Row]:
    """All edits of one size, in turn, so that a slow minute of the machine falls on all."""
    sampling = Generation(samples=1, new_tokens=asked.new_tokens)
    times: dict[str, list[float]] = {}
    passes: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        edits = list(make_edits(size, Path(folder)))
        for i in range(asked.repeats):
            first = i % len(edits)
            for edit in edits[first:] + edits[:first]:
                taken, passes[edit.name] = seconds(edit, asked.rows, sampling, asked.device)
                times.setdefault(edit.name, []).append(taken)
                print(f"{size}, {edit.name}: {taken:.2f} s", flush=True)
    tokens = asked.rows * asked.new_tokens
    key = {"size": size, "device": asked.device}
    return [
        key
        | {
            "edit": name,
            "forwards": f"{passes[name]:g}",
            "tokens_per_second": f"{tokens / statistics.median(taken):.1f}",
            "times_base": f"{_ratio(taken, times['base']):.2f}",
            "rows": str(asked.rows),
            "new_tokens": str(asked.new_tokens),
            "runs": str(len(taken)),
        }
        for name, taken in times.items()
    ]


def _ratio(taken: list[float], base: list[float]) -> float:
    """Median over the rounds of the time against the base's in the same round."""
    return statistics.median(own / of_base for own, of_base in zip(taken, base, strict=True))


def keep(rows: list[Row]) -> list[Row]:
    """Put rows into the file, in place of those of the same size and device; give all."""
    path, new = HERE / "edits_generation.csv", {(row["size"], row["device"]) for row in rows}
    old = list(csv.DictReader(path.open())) if path.exists() else []
    found = [row for row in old if (row["size"], row["device"]) not in new] + rows
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, found[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    return found


def write(rows: list[Row]) -> None:
    """Put one table per size and device into the page."""
    put(PAGE, "machine", machine(None), MACHINE_BY)
    head = ("edit", "forward passes", "tokens per second", "time, of the base's")
    for size, device in dict.fromkeys((row["size"], row["device"]) for row in rows):
        own = [row for row in rows if (row["size"], row["device"]) == (size, device)]
        fields = ("edit", "forwards", "tokens_per_second", "times_base")
        lines = [tuple(row[field] for field in fields) for row in own]
        said = "{rows} continuations of {new_tokens} tokens, median of {runs} runs, {device}"
        content = f"{size}: {said.format(**own[0])}\n\n{table(head, lines)}"
        put(PAGE, f"edits-{size}-{device}", content, BY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("."), help="for models, deleted after")
    parser.add_argument("--sizes", type=lambda s: s.split(","), default=["small"], help="or tiny")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=16, help="continuations, in one batch")
    parser.add_argument("--new-tokens", type=int, default=20)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    asked = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for size in asked.sizes:
        write(keep(time_size(size, asked)))
