"""What an edit costs beside its quality: speed, forward passes, memory, training time.

Speed is measured with the edit at one scale and at scale 0, which is the plain base model, by turns
in one process. Only their ratio can be compared between machines. It is the median of the rounds'
ratios, since what disturbs a machine lasts longer than a round. The end-of-text token does not stop
sampling here, so that both write the same number of tokens,

    tokens_per_second = prompts * samples * new_tokens / median seconds of a round

Candidates that are drawn and not kept cost time but do not count as tokens. Times differ from run
to run, so nothing but the tables is made from this file.
"""

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ..data.texts import read_prompts
from ..edit.edited import EditedModel
from ..errors import UserError
from ..models.batch_size import RowLimit, sampling_limit
from ..models.device import pick_device
from ..models.loading import load_tokenizer
from ..models.sampling import continuations
from ..models.sampling_request import PLAIN
from ..plan.batch_size import BatchSize
from ..storage.artefacts import certified, write_manifest


def measure_cost(
    edit: Path,
    base: Path,
    prompts: Path,
    prompt_lines: Path,
    protocol: Mapping[str, Any],
    batch_size: BatchSize,
    device: str,
    benchmarks: Sequence[Path],
    out: Path,
) -> None:
    """Measure what one edit costs.

    Args:
        protocol: `scale`; `num_prompts`, of which the first of the set are taken; `rounds` and
            `seconds`, the least number of timed rounds and the least time that the base model
            takes in them; and what `generate` reads.
        batch_size: rows at a time; the number is recorded, since speed depends on it.
        device: ``auto``, ``cpu`` or ``cuda``.
        benchmarks: Snakemake's benchmark files of the jobs that made the edit.
        out: manifest with `tokens_per_second`, the same of the base, and their ratio;
            `forward_passes_per_token`, and how many are extra; `extra_memory_mb` (1e6 bytes of
            tensors that generation needs beyond the base's); `training_seconds`, null if unknown.

    Raises:
        UserError: a prompt does not fit the model's context, or the edit or a file is broken.
    """
    device = pick_device(device)
    texts = read_prompts(certified(prompts, prompt_lines.name))[: protocol["num_prompts"]]
    edited = EditedModel(edit, device=device, dtype=protocol["dtype"])
    scale = float(protocol["scale"])
    limit, longest = _same_number(edited, texts, protocol, batch_size)
    speed, base_speed, ratio = _speeds(edited, texts, scale, protocol, limit, device)
    passes = edited.verb.forwards(scale)
    numbers = {
        "tokens_per_second": speed,
        "base_tokens_per_second": base_speed,
        "tokens_per_second_over_base": ratio,
        "forward_passes_per_token": passes,
        "extra_forward_passes_per_token": passes - 1,
        "extra_memory_mb": edited.verb.extra_bytes() / 1e6,
        "training_seconds": training_seconds(benchmarks),
    }
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    write_manifest(
        out,
        protocol=protocol,
        inputs=[edit, base, prompts],
        files={},
        scale=protocol["scale"],
        machine={"device": name, "threads": torch.get_num_threads()},
        batch_size=limit.rows(longest),
        **numbers,
    )
    print(", ".join(f"{key} {value}" for key, value in numbers.items()))


def _same_number(
    edited: EditedModel, texts: list[str], protocol: Mapping[str, Any], batch_size: BatchSize
) -> tuple[RowLimit, int]:
    """One number of rows for edit and base, as free memory changes; and tokens of the longest."""
    rows = load_tokenizer(edited.place)([protocol["prefix"] + text for text in texts])["input_ids"]
    longest = max(map(len, rows)) + protocol["new_tokens"]
    limit = sampling_limit(edited.model, batch_size)
    limit.log(longest)
    return RowLimit(limit.rows(longest)), longest


def _speeds(
    edited: EditedModel,
    texts: list[str],
    scale: float,
    protocol: Mapping[str, Any],
    limit: RowLimit,
    device: str,
) -> tuple[float, float, float]:
    """Tokens per second of edit and base, and their ratio; the first round only warms up."""
    tokenizer = load_tokenizer(edited.place)
    # either of them would stop sampling at the end-of-text token
    tokenizer.eos_token = edited.model.generation_config.eos_token_id = None
    rounds: dict[float, list[float]] = {0.0: [], scale: []}
    base_seconds: list[float] = []
    while len(base_seconds) < protocol["rounds"] or sum(base_seconds) < protocol["seconds"]:
        for turn, seconds in rounds.items():
            model, sampling = edited.at(turn), edited.sampling(turn) if turn else PLAIN
            start = _clock(device)
            continuations(model, tokenizer, texts, protocol, limit, sampling)
            seconds.append(_clock(device) - start)
        base_seconds = rounds[0.0][1:]
    tokens = len(texts) * protocol["samples"] * protocol["new_tokens"]
    edit_seconds = rounds[scale][1:]
    ratios = [base / edit for base, edit in zip(base_seconds, edit_seconds, strict=True)]
    return tokens / median(edit_seconds), tokens / median(base_seconds), median(ratios)


def _clock(device: str) -> float:
    """Seconds; waits for the GPU, which runs behind the Python code."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def training_seconds(benchmarks: Sequence[Path]) -> float | None:
    """How long the jobs that made an edit took together; None if a file is missing or none given.

    Args:
        benchmarks: Snakemake's files, one per job; their column `s` is the wall-clock time of the
            job's last attempt, in seconds.

    Raises:
        UserError: a file has no such column.
    """
    if not benchmarks or not all(path.is_file() for path in benchmarks):
        return None
    return sum(map(_seconds_of, benchmarks))


def _seconds_of(benchmark: Path) -> float:
    try:
        with open(benchmark, encoding="utf-8", newline="") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (KeyError, StopIteration, TypeError, ValueError):
        raise UserError(
            f"{benchmark} has no seconds in a column `s`; delete it, and the time counts as unknown"
        ) from None
