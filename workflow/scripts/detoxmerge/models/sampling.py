"""Sampling of continuations, each by random numbers of its own.

One uniform number per token is drawn from (seed, prompt, sample). The token is the one at which the
cumulative probability passes that number. So the samples of a prompt do not depend on the prompts
that share its batch, except for what the library makes unavoidable: matrix products of another
batch shape, and left padding, change the last bits of the logits, and another token is chosen where
the number lies that close to a border.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ..errors import UserError
from .loading import context_of, pad_token
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
    batch_size: int,
    asked: Sampling = PLAIN,
) -> list[list[Continuation]]:
    """Sample continuations.

    Args:
        prompts: P texts.
        protocol: as `Protocol.generate` gives it.
        batch_size: rows (prompt and sample) at a time.

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
    of_each = range(asked.candidates)
    # rows of similar length share a batch: little padding
    jobs = [Row(*at) for at in product(range(len(prompts)), range(protocol["samples"]), of_each)]
    jobs.sort(key=lambda job: (len(rows[job.prompt]), job))
    drawn: dict[Row, Continuation] = {}
    for batch in _batches(jobs, batch_size):
        ids = [rows[job.prompt] for job in batch]
        sampled = _sample(model, tokenizer, ids, batch, protocol, asked.processors)
        drawn |= dict(zip(batch, sampled, strict=True))

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


class InverseCdf(LogitsProcessor):
    """Leaves one token per row: the first at which the cumulated probability exceeds u.

    P(token) is the softmax of the scores, so greedy search over what is left is exact sampling,
    with random numbers that belong to the row.
    """

    def __init__(self, numbers: torch.Tensor, prompt_tokens: int) -> None:
        """Keep the numbers.

        Args:
            numbers: (rows, new tokens), fp64, in [0, 1).
            prompt_tokens: padded length of the prompts.
        """
        self.numbers, self.prompt_tokens = numbers, prompt_tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Choose a token for each row.

        Args:
            input_ids: (rows, tokens so far), int64.
            scores: (rows, vocabulary), any float; excluded tokens are -inf.

        Returns:
            Like `scores`: 0 for the chosen token, -inf for the others.

        Raises:
            UserError: a row has no probabilities; comparisons with NaN would choose a token.
        """
        u = self.numbers[:, input_ids.shape[1] - self.prompt_tokens, None]
        cdf = torch.softmax(scores.double(), dim=-1).cumsum(dim=-1)
        if not torch.isfinite(cdf[:, -1]).all():
            raise UserError(
                "the model's logits are NaN or infinite at this scale, so nothing can be sampled; "
                "leave the scale out, or make the edit again"
            )
        # times the total: rounding must not leave u above the last value
        chosen = (cdf <= u * cdf[:, -1:]).sum(dim=-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


@torch.no_grad()
def _sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[list[int]],
    jobs: list[Row],
    protocol: Mapping[str, Any],
    before: Sequence[LogitsProcessor],
) -> list[Continuation]:
    """One batch: left-padded, filtered by the warpers of transformers, sampled by `InverseCdf`."""
    # padding on the left, so that all rows continue at the same position
    width, new = max(map(len, rows)), protocol["new_tokens"]
    pad = pad_token(tokenizer)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device
    )
    numbers = np.stack(
        [
            uniforms(protocol["seed"], prompt, sample, new, candidate)
            for prompt, sample, candidate in jobs
        ]
    )
    # in the order of generate() itself; processors of the edit see the raw logits
    steps = [*before, TemperatureLogitsWarper(protocol["temperature"])]
    if protocol["top_k"]:
        steps.append(TopKLogitsWarper(protocol["top_k"]))
    if protocol["top_p"] < 1:
        steps.append(TopPLogitsWarper(protocol["top_p"]))
    steps.append(InverseCdf(torch.from_numpy(numbers).to(model.device), width))
    # InverseCdf leaves one token, so greedy search takes it
    config = GenerationConfig(
        max_new_tokens=new,
        do_sample=False,
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id,
    )
    # every causal LM inherits `generate`, PreTrainedModel itself does not
    out = model.generate(  # type: ignore[operator]
        ids,
        attention_mask=mask,
        generation_config=config,
        logits_processor=LogitsProcessorList(steps),
    )
    # what follows an end-of-text token is padding
    new_ids, eos = [row[width:].tolist() for row in out], tokenizer.eos_token_id
    kept = [row[: row.index(eos)] if eos in row else row for row in new_ids]
    texts = _texts_after(tokenizer, rows, kept)
    return [Continuation(text, eos not in row) for text, row in zip(texts, new_ids, strict=True)]


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


def _batches(jobs: list[Row], size: int) -> Iterator[list[Row]]:
    for start in tqdm(range(0, len(jobs), size), desc="generate", mininterval=5):
        yield jobs[start : start + size]


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
