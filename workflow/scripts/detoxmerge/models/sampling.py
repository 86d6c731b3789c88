"""Sampling of continuations, each by random numbers of its own.

One uniform number per token is drawn from (seed, prompt, sample). The token is the one at which the
cumulative probability passes that number. So the samples of a prompt do not depend on the prompts
that share its batch, except for what is unavoidable: matrix products of another batch shape, and
left padding, change the last bits of the logits, and another token is chosen where the number lies
that close to a border.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from ..errors import UserError
from ..plan.batch_size import BatchSize
from .batch_size import RowLimit, sampling_limit
from .decoding import decode
from .loading import context_of, pad_token
from .nucleus import draw
from .sampling_request import PLAIN, Sampling


class Row(NamedTuple):
    """One continuation to be drawn; all indices are 0-based."""

    prompt: int
    sample: int
    candidate: int


class Continuation(NamedTuple):
    """A text sampled after a prompt; `truncated`: no end-of-text token within `new_tokens`."""

    text: str
    truncated: bool


def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    protocol: Mapping[str, Any],
    batch_size: BatchSize | RowLimit,
    asked: Sampling = PLAIN,
) -> list[list[Continuation]]:
    """Sample continuations.

    Args:
        prompts: P texts.
        protocol: as `Protocol.generate` gives it.
        batch_size: rows (prompt and sample) at a time, or ``auto``.

    Returns:
        P lists of K: what follows the prompt, up to the end-of-text token.

    Raises:
        UserError: a prompt is longer than the model's context allows, or has no tokens; logits are
            NaN.
    """
    # generate() fills gaps from what the model folder says about sampling: let it say nothing
    model.generation_config = GenerationConfig()
    rows = tokenizer([protocol["prefix"] + text for text in prompts])["input_ids"]
    _require_fit(rows, prompts, model, protocol["new_tokens"], asked.context_taken)
    of_each, new = range(asked.candidates), protocol["new_tokens"]
    # rows of similar length share a batch: little padding; those of one prompt read it together
    jobs = [Row(*at) for at in product(range(len(prompts)), range(protocol["samples"]), of_each)]
    jobs.sort(key=lambda job: (len(rows[job.prompt]), job))
    processors = [*asked.processors, *_warpers(protocol)]

    def sample(batch: list[Row]) -> list[Continuation]:
        return _sample(model, tokenizer, rows, batch, protocol, processors)

    limit, drawn = sampling_limit(model, batch_size), dict[Row, Continuation]()
    lengths = [len(rows[job.prompt]) + new for job in jobs]
    with tqdm(total=len(jobs), desc="generate", mininterval=5) as progress:
        for batch in limit.batches(jobs, lengths):
            drawn |= dict(zip(batch, limit.run(sample, batch), strict=True))
            progress.update(len(batch))

    kept = [*product(range(len(prompts)), range(protocol["samples"]))]
    groups = [[drawn[Row(p, k, c)] for c in of_each] for p, k in kept]
    # pick from all groups at once, so that a scorer has full batches
    picked = asked.pick([[c.text for c in g] for g in groups]) if asked.pick else [0] * len(groups)
    chosen: list[list[Continuation]] = [[] for _ in prompts]
    for (prompt, _), group, place in zip(kept, groups, picked, strict=True):
        chosen[prompt].append(group[place])
    return chosen


def uniforms(seed: int, prompt: int, sample: int, count: int, candidate: int = 0) -> np.ndarray:
    """The random numbers of one continuation, one per token.

    Args:
        prompt: 0-based position in the prompt set.
        sample: 0-based.
        candidate: 0-based; the first one has the numbers of a sample without candidates.

    Returns:
        `count` numbers in [0, 1), fp64, by numpy's PCG64.
    """
    key = [seed, prompt, sample, candidate] if candidate else [seed, prompt, sample]
    return np.random.default_rng(key).random(count)


def _warpers(protocol: Mapping[str, Any]) -> list[LogitsProcessor]:
    """In the order of the library; `draw` itself cuts to the nucleus."""
    warpers: list[LogitsProcessor] = []
    if protocol["temperature"] != 1:
        warpers.append(TemperatureLogitsWarper(protocol["temperature"]))
    if protocol["top_k"]:
        warpers.append(TopKLogitsWarper(protocol["top_k"]))
    return warpers


def _sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[list[int]],
    jobs: list[Row],
    protocol: Mapping[str, Any],
    processors: Sequence[LogitsProcessor],
) -> list[Continuation]:
    """One batch; the jobs of a prompt follow one another, `rows` are the tokens of all prompts."""
    new, seed, end = protocol["new_tokens"], protocol["seed"], tokenizer.eos_token_id
    samples = Counter(job.prompt for job in jobs)  # in the order of the jobs
    numbers = np.stack([uniforms(seed, p, sample, new, candidate) for p, sample, candidate in jobs])
    tokens = decode(
        model,
        [rows[prompt] for prompt in samples],
        list(samples.values()),
        torch.from_numpy(numbers),
        partial(draw, top_p=protocol["top_p"]),
        processors,
        pad=pad_token(tokenizer),
        end=end,
    )
    ended = [end is not None and row[-1] == end for row in tokens]
    kept = [row[:-1] if over else row for row, over in zip(tokens, ended, strict=True)]
    texts = _texts_after(tokenizer, [rows[job.prompt] for job in jobs], kept)
    return [Continuation(text, not over) for text, over in zip(texts, ended, strict=True)]


def _texts_after(
    tokenizer: PreTrainedTokenizerBase, rows: list[list[int]], new: list[list[int]]
) -> list[str]:
    """The text that tokens add to those before: decoded alone, some lose their first space."""
    whole = [before + after for before, after in zip(rows, new, strict=True)]
    starts, ends, alone = (
        tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in (rows, whole, new)
    )
    # where a character's bytes are split between the two, the beginnings differ
    return [
        end[len(start) :] if end.startswith(start) else text
        for start, end, text in zip(starts, ends, alone, strict=True)
    ]


def _require_fit(
    rows: list[list[int]], prompts: list[str], model: PreTrainedModel, new: int, taken: int
) -> None:
    limit = context_of(model)
    less = f" less {taken} that the edit takes" if taken else ""
    for row, text in zip(rows, prompts, strict=True):
        if not row:
            raise UserError(f"the prompt {text!r} has no tokens; leave it out with `where`")
        if limit and len(row) + new + taken > limit:
            raise UserError(
                f"a prompt of {len(row)} tokens and {new} new ones exceed the model's context of "
                f"{limit}{less}: {text[:60]!r}...; "
                "choose shorter prompts or fewer new_tokens"
            )
