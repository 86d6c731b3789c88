"""How fast a model is fine-tuned: ours, transformers' Trainer, and what the machine could do.

All train copies of one model on the same texts, by turns: batches of an epoch of ours, spread
evenly over the lengths. Writes a table of docs/speed.md. GPT-2 small needs 5 GB of memory and, on
one core, about five minutes (with --rounds 2, three). Run from the root:
OMP_NUM_THREADS=1 PYTHONPATH=workflow/scripts python benchmarks/training.py --model tiny
"""

import argparse
import copy
import ctypes
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
import transformers
from edits import SIZES
from merge_page import machine
from page import MACHINE_BY, put, table
from processes import wait_until_idle
from tokenizers import ByteLevelBPETokenizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from detoxmerge.data.generated import comments
from detoxmerge.models.loading import load_model, load_tokenizer, pad_token
from detoxmerge.plan.training import Recipe
from detoxmerge.train import finetune, resumable
from detoxmerge.train.job import Job

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"
BY = "benchmarks/training.py"
QUIET, PATIENCE = 0.1, 5  # the share of the CPUs that others may have; seconds to wait for it
CIVIL, TOXIC_ABOVE, GENERATED = "toxic/civil_comments_toxic_spans.parquet", 0.8, 9000
SEED, BATCH, WARM_UP_TOKENS = 42, 16, 8
MM_ROWS, SQUARE, MM_SECONDS = 1024, 2048, 0.5
# of glibc's malloc.h; rules/common.smk sets the same by the environment
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
Row = dict[str, list[int]]


@dataclass(frozen=True)
class Study:
    """What all ways train: a model, and texts as token ids, cut but not padded."""

    model: Any
    tokenizer: Any
    max_tokens: int
    rounds: list[list[list[Row]]]  # of batches, each of similar length

    def recipe(self) -> dict[str, Any]:
        """One epoch, else as by default."""
        return Recipe(epochs=1, batch_size=BATCH, max_tokens=self.max_tokens).model_dump()


def ours(study: Study, model: Any, rows: list[Row], work: Path) -> int:
    """Train as `finetune_shard` does, the batches in the order of the rows.

    Returns:
        Positions of the last batches, pads included; the first batch does not count.
    """
    job = Job(work / "meta.json", SEED)
    collate = finetune.Collate(pad_token(study.tokenizer))
    with patch.object(resumable, "SeededSampler", lambda *_: range(len(rows))):
        resumable.train(model, rows, collate, job, **finetune._arguments(study.recipe()))
    return _positions(rows[BATCH:])


def grouped(study: Study, model: Any, rows: list[Row], work: Path) -> int:
    """The Trainer with the order of its group_by_length, which is also ours."""
    _trainer(study, model, rows, work)
    return _positions(rows[BATCH:])


def padded(study: Study, model: Any, rows: list[Row], work: Path) -> int:
    """The Trainer on shuffled texts that the tokenizer has padded to the limit."""
    first, rest = rows[:BATCH], rows[BATCH:]
    random.Random(SEED).shuffle(rest)
    pad, length = study.tokenizer.pad, study.max_tokens
    # of copies: `pad` changes what it is given
    full = [dict(pad(dict(row), padding="max_length", max_length=length)) for row in rest]
    _trainer(study, model, first + full, work)
    return len(rest) * study.max_tokens


WAYS: dict[str, Callable[[Study, Any, list[Row], Path], int]] = {
    "all texts padded to the limit": padded,
    "batches of similar length": grouped,
    "ours": ours,
}
PLAIN, OURS = "all texts padded to the limit", "ours"


def _trainer(study: Study, model: Any, rows: list[Row], work: Path) -> None:
    arguments = transformers.TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=study.recipe()["learning_rate"],
        optim=study.recipe()["optimizer"],
        train_sampling_strategy="sequential",
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        dataloader_pin_memory=False,
    )
    collate = transformers.DataCollatorForLanguageModeling(study.tokenizer, mlm=False)
    transformers.Trainer(model, arguments, collate, rows).train()


def _positions(rows: list[Row]) -> int:
    """Of batches that are padded to the longest of each."""
    lengths = [len(row["input_ids"]) for row in rows]
    batches = [lengths[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    return sum(max(batch) * len(batch) for batch in batches)


def speed(study: Study, way: str, batches: list[list[Row]]) -> tuple[float, float]:
    """Real tokens per second of one way, and the share of pads among its positions."""
    rows = [row for batch in batches for row in batch]
    # AdamW allocates its state at the first step, which is short and not timed
    warm_up = [{name: ids[:WARM_UP_TOKENS] for name, ids in row.items()} for row in batches[0]]
    ends: list[float] = []
    wait_until_idle(QUIET, PATIENCE)
    hook = register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as work:
        positions = WAYS[way](study, copy.deepcopy(study.model), warm_up + rows, Path(work))
    hook.remove()
    if len(ends) != 1 + len(batches):
        raise RuntimeError(f"{way}: {len(ends)} steps, and not {1 + len(batches)}")
    real = sum(len(row["input_ids"]) for row in rows)
    return real / (ends[-1] - ends[0]), 1 - real / positions


def mm_shapes(width: int) -> list[tuple[int, int, int]]:
    """Two of a GPT-2's own products, and a square one."""
    return [(MM_ROWS, width, 4 * width), (MM_ROWS, 4 * width, width), (SQUARE, SQUARE, SQUARE)]


def mm_flops(width: int) -> float:
    """Floating-point operations per second of torch.mm, of the fastest shape and call."""
    best = 0.0
    for n, k, m in mm_shapes(width):
        a, b, out = torch.randn(n, k), torch.randn(k, m), torch.empty(n, m)
        until = time.perf_counter() + MM_SECONDS
        while (begun := time.perf_counter()) < until:
            torch.mm(a, b, out=out)
            best = max(best, 2 * n * k * m / (time.perf_counter() - begun))
    return best


def weights_multiplied(model: Any) -> int:
    """Parameters but for embeddings that are only looked up: not a tied one, which is the head."""
    head = model.get_output_embeddings().weight
    embeddings = [m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    looked_up = sum(weight.numel() for weight in embeddings if weight is not head)
    return sum(weight.numel() for weight in model.parameters()) - looked_up


def make_study(name: str, asked: argparse.Namespace, texts: list[str]) -> Study:
    """The model, and the batches that are timed.

    Of the first 50 batches of an epoch, which go from long texts to short ones, every few-th is
    taken; each round has long and short ones.
    """
    model, tokenizer = named_model(name, texts)
    ids = tokenizer(texts, truncation=True, max_length=asked.max_tokens)["input_ids"]
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids if len(row) > 1]
    order = [*resumable.SeededSampler([len(r["input_ids"]) for r in rows], BATCH, True, SEED)]
    wanted, num = asked.rounds * asked.steps, min(50, len(rows) // (4 * BATCH))
    if num < wanted:
        raise SystemExit(f"{len(rows)} texts are too few for {wanted} batches of similar length")
    starts = [BATCH * int((i + 0.5) * num / wanted) for i in range(wanted)]
    batches = [[rows[i] for i in order[start : start + BATCH]] for start in starts]
    rounds: list[list[list[Row]]] = [[] for _ in range(asked.rounds)]
    for step in range(asked.steps):  # there and back, so that rounds are about equally long
        own = batches[step * asked.rounds : (step + 1) * asked.rounds]
        for of_round, batch in zip(rounds, own if step % 2 == 0 else own[::-1], strict=True):
            of_round.append(batch)
    return Study(model, tokenizer, asked.max_tokens, rounds)


def named_model(name: str, texts: list[str]) -> tuple[Any, Any]:
    """A local folder, or a GPT-2 of random weights with GPT-2's tokenizer or one of the texts."""
    if name not in SIZES:
        model, tokenizer = load_model({"path": name}), load_tokenizer({"path": name})
    else:
        if data := os.environ.get("DETOXMERGE_DATA"):
            tokenizer = load_tokenizer({"path": f"{data}/tokenizers/gpt2"})
        else:
            bpe, end = ByteLevelBPETokenizer(), "<|endoftext|>"
            bpe.train_from_iterator(texts, 2000, special_tokens=[end], show_progress=False)
            tokenizer = transformers.PreTrainedTokenizerFast(
                tokenizer_object=bpe._tokenizer, eos_token=end
            )
        shape = SIZES[name][0]
        vocabulary = max(shape["vocab_size"], len(tokenizer))
        torch.manual_seed(0)
        config = transformers.GPT2Config(**shape | {"vocab_size": vocabulary})
        model = transformers.GPT2LMHeadModel(config)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_token(tokenizer))
    return model, tokenizer


def toxic_texts() -> tuple[str, list[str]]:
    """What they are, and the texts."""
    if data := os.environ.get("DETOXMERGE_DATA"):
        frame = pd.read_parquet(Path(data) / CIVIL)
        said = f"Civil Comments with toxicity above {TOXIC_ABOVE:g}"
    else:
        frame, said = pd.DataFrame(comments(GENERATED, SEED)), "generated rude comments"
    return said, frame["text"][frame["toxicity"] > TOXIC_ABOVE].tolist()


def main(asked: argparse.Namespace) -> None:
    """Time all ways by turns, and put the table into the page."""
    said, texts = toxic_texts()
    study = make_study(asked.model, asked, texts)
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    pads: dict[str, list[float]] = {way: [] for way in WAYS}
    limits: list[float] = []
    flops = 6 * weights_multiplied(study.model)
    for i, batches in enumerate(study.rounds):
        limits.append(mm_flops(study.model.config.hidden_size) / flops)
        names = [*WAYS]
        for way in names[i % len(names) :] + names[: i % len(names)]:
            tokens, share = speed(study, way, batches)
            speeds[way].append(tokens)
            pads[way].append(share)
            print(f"round {i}, {way}: {tokens:.1f} tokens/s, torch.mm's {limits[i]:.1f}")
    lines = [
        (
            OURS if way == OURS else f"Trainer, {way}",
            f"{statistics.median(own):.1f}",
            f"{_ratio(own, speeds[PLAIN]):.2f}",
            f"{statistics.mean(pads[way]):.0%}",
            f"{_ratio(own, limits):.2f}",
        )
        for way, own in speeds.items()
    ]
    head = ("what", "real tokens per second", "times the first", "pads", "of torch.mm's speed")
    content = f"{describe(asked, study, said, limits)}\n\n{table(head, lines)}"
    put(PAGE, "machine", machine(None), MACHINE_BY)
    put(PAGE, f"training-{Path(asked.model).name}", content, BY)


def describe(asked: argparse.Namespace, study: Study, said: str, limits: list[float]) -> str:
    """What stands above the table."""
    times = study.model.config.hidden_size
    shapes = ", ".join(" x ".join(map(str, shape)) for shape in mm_shapes(times))
    multiplied = weights_multiplied(study.model)
    speed_of_mm = 6 * multiplied * statistics.median(limits) / 1e9
    return (
        f"{Path(asked.model).name}: P = {multiplied / 1e6:.1f} million weights, fp32, {said}, cut "
        f"at {asked.max_tokens} tokens, {BATCH} a step; median of {asked.rounds} rounds of "
        f"{asked.steps} steps, {torch.get_num_threads()} thread(s); torch.mm: {speed_of_mm:.0f} "
        f"GFLOP/s, the fastest of {shapes}"
    )


def _ratio(own: list[float], other: list[float]) -> float:
    """Median over the rounds of what stands beside each other in one."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small", help="small, tiny, or a model's folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="per round and way, timed")
    parser.add_argument("--max-tokens", type=int, default=128, help="longer texts are cut")
    asked = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
        ctypes.CDLL(None).mallopt(option, value)
    main(asked)
