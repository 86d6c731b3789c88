"""How fast continuations are sampled: ours, the library's `generate`, and what torch.mm could do.

Both continue the same prompts, by turns. Writes a table of docs/speed.md. On one core it takes
about five minutes for a model like GPT-2 small. Run from the root:
OMP_NUM_THREADS=1 PYTHONPATH=workflow/scripts python benchmarks/generation.py --model tiny
"""

import argparse
import ctypes
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from merge_page import machine
from page import MACHINE_BY, put, table
from processes import wait_until_idle
from training import M_MMAP_MAX, M_TRIM_THRESHOLD, mm_flops, named_model, weights_multiplied

from detoxmerge.data import generated
from detoxmerge.models.loading import pad_token
from detoxmerge.models.sampling import continuations
from detoxmerge.plan.catalogue import Generation
from detoxmerge.plan.entries import protocol

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"
BY = "benchmarks/generation.py"
PROMPTS, GENERATED = "prompts/realtoxicityprompts.jsonl.gz", 2000
QUIET, PATIENCE = 0.1, 5  # the share of the CPUs that others may have; seconds to wait for it
RESET_PEAK = "5"  # what /proc/self/clear_refs takes
LIBRARY, OURS = "generate", "ours"
# of the last norm's weight, for models of random weights: the entropy of a token is then about 3.5
# nats, as of a small language model that was trained, and 0.9 of the probability lies on 100 to 200
SHARPER = {"small": 8.0, "tiny": 12.0}


def library(model: Any, tokenizer: Any, prompts: list[str], sampling: Generation) -> None:
    """As one would write it."""
    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    with torch.no_grad():
        model.generate(
            **batch,
            do_sample=True,
            top_p=sampling.top_p,
            top_k=0,
            max_new_tokens=sampling.new_tokens,
            num_return_sequences=sampling.samples,
            pad_token_id=tokenizer.pad_token_id,
        )


def ours(model: Any, tokenizer: Any, prompts: list[str], sampling: Generation) -> None:
    """As `generate` of the workflow does."""
    rows = len(prompts) * sampling.samples
    continuations(model, tokenizer, prompts, protocol(sampling), rows)


WAYS: dict[str, Callable[[Any, Any, list[str], Generation], None]] = {LIBRARY: library, OURS: ours}


def sorted_prompts(tokenizer: Any) -> tuple[str, list[str]]:
    """What they are, and texts, by their number of tokens."""
    if data := os.environ.get("DETOXMERGE_DATA"):
        with gzip.open(Path(data) / PROMPTS, "rt") as lines:
            texts = [json.loads(line)["prompt"] for line in lines]
        said = "RealToxicityPrompts"
    else:
        said, texts = "generated prompts", [r["text"] for r in generated.prompts(GENERATED, 1)]
    texts = texts[:: max(1, len(texts) // GENERATED)]
    return said, sorted(texts, key=lambda text: len(tokenizer(text)["input_ids"]))


def timed(way: str, *task: Any) -> tuple[float, float]:
    """Seconds, and MB above what was there before."""
    wait_until_idle(QUIET, PATIENCE)
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before, begun = _megabytes("VmRSS"), time.perf_counter()
    WAYS[way](*task)
    return time.perf_counter() - begun, _megabytes("VmHWM") - before


def _megabytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(x.split()[1]) for x in lines if x.startswith(f"{field}:")) / 1e6


def time_samples(
    model: Any, tokenizer: Any, texts: list[str], samples: int, asked: argparse.Namespace
) -> list[tuple[str, ...]]:
    """Rows of the table for one K: rounds are spread evenly over the lengths of the prompts."""
    count = max(1, asked.rows // samples)
    tokens = count * samples * asked.new_tokens
    sampling = Generation(samples=samples, new_tokens=asked.new_tokens)
    flops = 2 * weights_multiplied(model)
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    memory: dict[str, list[float]] = {way: [] for way in WAYS}
    limits: list[float] = []
    for i in range(asked.rounds):
        start = int((len(texts) - count) * (i + 0.5) / asked.rounds)
        limits.append(mm_flops(model.config.hidden_size) / flops)
        for way in list(WAYS)[:: 1 if i % 2 else -1]:
            seconds, peak = timed(way, model, tokenizer, texts[start : start + count], sampling)
            speeds[way].append(tokens / seconds)
            memory[way].append(peak)
            print(f"K = {samples}, round {i}, {way}: {speeds[way][-1]:.1f} tokens/s", flush=True)
    return [
        (
            str(samples),
            str(count),
            way,
            f"{statistics.median(own):.1f}",
            f"{_ratio(own, speeds[LIBRARY]):.2f}",
            f"{_ratio(own, limits):.2f}",
            f"{max(memory[way]):.0f} MB",
        )
        for way, own in speeds.items()
    ]


def _ratio(own: list[float], other: list[float]) -> float:
    """Median over the rounds of what stands beside each other in one."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


def main(asked: argparse.Namespace) -> None:
    """Time both ways for each K, and put the table into the page."""
    model, tokenizer = named_model(asked.model, [r["text"] for r in generated.comments(2000, 1)])
    model.eval()
    if asked.model in SHARPER:
        with torch.no_grad():
            model.transformer.ln_f.weight *= SHARPER[asked.model]
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_token(tokenizer))
    said, texts = sorted_prompts(tokenizer)
    short = Generation(samples=2, new_tokens=2)
    for way in WAYS:
        WAYS[way](model, tokenizer, texts[:2], short)
    lines = [row for k in asked.samples for row in time_samples(model, tokenizer, texts, k, asked)]
    head = ("K", "prompts", "what", "tokens per second", "times generate", "of torch.mm", "memory")
    name = Path(asked.model).name
    what = (
        f"{name}: P = {weights_multiplied(model) / 1e6:.1f} million weights, "
        f"a vocabulary of {model.get_output_embeddings().weight.shape[0]:,}, fp32, {said}, "
        f"{asked.new_tokens} new tokens, at most {asked.rows} rows in a batch; median of "
        f"{asked.rounds} rounds, {torch.get_num_threads()} thread(s)"
    )
    put(PAGE, "machine", machine(None), MACHINE_BY)
    put(PAGE, f"sampling-{name}", f"{what}\n\n{table(head, lines)}", BY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small", help="small, tiny, or a model's folder")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 10, 25], help="K")
    parser.add_argument("--rows", type=int, default=64, help="continuations in a batch, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=20)
    asked = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
        ctypes.CDLL(None).mallopt(option, value)
    main(asked)
