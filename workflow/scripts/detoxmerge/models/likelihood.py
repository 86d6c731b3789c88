"""Negative log-likelihood of tokens under a causal LM, without padding.

What a tokenizer puts before a text of itself, as a begin-of-text token, is fed and never scored: a
model that was trained with it is broken without it. What it puts behind a text is not even fed.
Without such a token the first token of the text is not scored, as nothing predicts it.

The border between a prompt p and its continuation g: both are tokenised as one text, and a token
belongs to g if it ends after the last character of p. So a token across the border belongs to g, as
a whole.
"""

import inspect
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import UserError
from ..plan.batch_size import BatchSize
from .batch_size import likelihood_limit

SLICE = 1 << 24  # logits that are cast to fp32 at a time: 67 MB
PROBE = "two words"


class Window(NamedTuple):
    """Tokens begin..end are fed, tokens score_from..end are scored."""

    begin: int
    score_from: int
    end: int


@torch.no_grad()
def window_nll(
    model: PreTrainedModel,
    ids: torch.Tensor,
    windows: list[Window],
    batch_size: BatchSize,
    before: Sequence[int] = (),
) -> np.ndarray:
    """NLL of the scored tokens of each window, by one forward pass for each batch of windows.

    The logits of a batch are held in the model's dtype: of the 1,024 positions of one window and
    the 262,144 tokens of Gemma 1.07 GB in fp32. Two slices of them, of at most `SLICE` elements,
    are held in fp32 beside them.

    Args:
        ids: (tokens,) int64.
        windows: as `make_windows` gives them.
        batch_size: windows at a time.
        before: tokens that every window is fed behind.

    Returns:
        (windows,) fp64, nats.
    """
    nll = np.zeros(len(windows))
    head = torch.tensor(list(before), dtype=ids.dtype)
    shapes = [(len(head) + w.end - w.begin, w.end - w.score_from) for w in windows]

    def nll_of(batch: list[int]) -> list[float]:
        rows = [torch.cat([head, ids[windows[i].begin : windows[i].end]]) for i in batch]
        return _last_nll(model, torch.stack(rows).to(model.device), shapes[batch[0]][1])

    limit = likelihood_limit(model, batch_size)
    if shapes:
        limit.log(*max(shapes))
    with tqdm(total=len(windows), desc="perplexity", mininterval=5) as bar:
        # windows of one shape share a batch, so that nothing is padded
        for (length, scored), group in itertools.groupby(range(len(windows)), shapes.__getitem__):
            alike = list(group)
            for batch in limit.batches(alike, [length] * len(alike), scored + 1):
                nll[batch] = limit.run(nll_of, batch)
                bar.update(len(batch))
    return nll


@torch.no_grad()
def require_causal(model: PreTrainedModel) -> None:
    """Raise UserError if a token's logits depend on later tokens, as those of BERT and XLNet do."""
    first, second = model(torch.tensor([[1, 2, 3], [1, 2, 4]]).to(model.device)).logits[:, 1]
    tolerance = 1e-4 if first.dtype == torch.float32 else 1e-2
    # NaN, of broken weights, is for others to find
    if (first - second).abs().max() > tolerance * first.abs().max():
        raise UserError(
            f"a model of type '{model.config.model_type}' sees the tokens behind the one that it "
            "predicts, so it has no perplexity; choose a causal language model"
        )


def _last_nll(model: PreTrainedModel, batch: torch.Tensor, scored: int) -> list[float]:
    """Sum of -log p of the last `scored` tokens of each row, in fp64.

    It asks nothing of a model but that no token sees a later one: no key-value cache, which some
    architectures do not have, and in which others forget the state of their recurrent layers.
    """
    logits = _last_logits(model, batch, scored + 1)[:, :-1]
    total = torch.zeros(len(batch), dtype=torch.float64, device=batch.device)
    step = max(1, SLICE // (logits.shape[0] * logits.shape[2]))
    slices = zip(logits.split(step, dim=1), batch[:, -scored:].split(step, dim=1), strict=True)
    for part, targets in slices:
        picked = torch.nn.functional.cross_entropy(
            part.float().flatten(0, 1), targets.flatten(), reduction="none"
        )
        total += picked.view(targets.shape).double().sum(dim=1)
    return total.tolist()


def _last_logits(model: PreTrainedModel, batch: torch.Tensor, positions: int) -> torch.Tensor:
    """Logits (rows, positions, vocabulary) at the last positions; some models give all of them."""
    takes_number = "logits_to_keep" in inspect.signature(model.forward).parameters
    options = {"logits_to_keep": positions} if takes_number else {}
    return model(batch, **options).logits[:, -positions:]


def added_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """What a tokenizer puts before and behind every text of itself.

    Returns:
        Token ids, none where it puts nothing: begin-of-text before, end-of-text behind.
    """
    whole = tokenizer(PROBE)["input_ids"]
    bare = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    if 0 < len(bare) < len(whole):
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
    # one that puts them, whatever it is asked: no plain text has these tokens
    begins = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {tokenizer.unk_token_id}
    ends = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {tokenizer.unk_token_id}
    before = list(itertools.takewhile(begins.__contains__, whole))
    behind = list(itertools.takewhile(ends.__contains__, reversed(whole[len(before) :])))
    return before, behind[::-1]


def text_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[int]]:
    """The tokens of a text alone, and those that its tokenizer puts before every text.

    Raises:
        UserError: the tokenizer does not treat this text like others.
    """
    before, behind = added_tokens(tokenizer)
    ids = tokenizer(text, verbose=False)["input_ids"]
    end = len(ids) - len(behind)
    if ids[: len(before)] != before or ids[end:] != behind or end < len(before):
        raise UserError(
            f"the tokenizer puts {before} before and {behind} behind {PROBE!r}, but not around "
            f"the text that begins with {text[:30]!r}; mend its tokenizer.json"
        )
    return ids[len(before) : end], before


def tokenise(
    tokenizer: PreTrainedTokenizerBase, prompts: list[str], texts: list[str]
) -> tuple[list[list[int]], np.ndarray]:
    """Tokenise each prompt with its continuation, for the tokenizer of the judge.

    Returns:
        Token ids up to the last scored one, and how many at their end are scored (int64).

    Raises:
        UserError: the tokenizer does not tell which characters a token covers.
    """
    if not tokenizer.is_fast:
        raise UserError(
            "the judge's tokenizer gives no character offsets (it has no tokenizer.json); name "
            "another judge as run.fluency_judge"
        )
    joined = [prompt + text for prompt, text in zip(prompts, texts, strict=True)]
    encoded = tokenizer(joined, return_offsets_mapping=True, verbose=False)
    rows, tokens = [], np.zeros(len(texts), dtype=np.int64)
    for i, prompt in enumerate(prompts):
        offsets = encoded["offset_mapping"][i]
        # tokens that the tokenizer adds, for the beginning or end of text, cover no character
        scored = [k for k, (_, end) in enumerate(offsets) if k and end > len(prompt)]
        tokens[i] = len(scored)
        rows.append(encoded["input_ids"][i][: scored[-1] + 1] if scored else [])
    return rows, tokens


def conditional_nll(
    model: PreTrainedModel, rows: list[list[int]], tokens: np.ndarray, batch_size: BatchSize
) -> np.ndarray:
    """NLL of the tokens at the end of each row of token ids, given those before.

    Rows of one shape share a batch, so nothing is padded.

    Args:
        tokens: (rows,), how many at the end of each are scored.

    Returns:
        (rows,) sums over the scored tokens, fp64, nats; NaN where none is scored.
    """
    order = sorted(np.flatnonzero(tokens), key=lambda i: (len(rows[i]), tokens[i]))
    ends = np.cumsum([len(rows[i]) for i in order], dtype=np.int64)
    windows = [
        Window(int(end) - len(rows[i]), int(end - tokens[i]), int(end))
        for i, end in zip(order, ends, strict=True)
    ]
    ids = torch.tensor([token for i in order for token in rows[i]], dtype=torch.int64)
    nll = np.full(len(rows), np.nan)
    nll[order] = window_nll(model, ids, windows, batch_size)
    return nll
