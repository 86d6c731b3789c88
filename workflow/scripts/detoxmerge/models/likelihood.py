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

MAX_LOGITS = 1 << 26  # elements held at a time: 256 MB in fp32
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
    batch_size: int,
    before: Sequence[int] = (),
) -> np.ndarray:
    """NLL of the scored tokens of each window.

    Args:
        ids: (tokens,) int64.
        windows: as `make_windows` gives them.
        batch_size: windows at a time, fewer where their logits would exceed `MAX_LOGITS`.
        before: tokens that every window is fed behind.

    Returns:
        (windows,) fp64, nats.
    """
    nll = np.zeros(len(windows))
    vocabulary = model.get_output_embeddings().weight.shape[0]
    head = torch.tensor(list(before), dtype=ids.dtype)
    for group in tqdm(_groups(windows, batch_size, vocabulary), desc="perplexity", mininterval=5):
        rows = [torch.cat([head, ids[windows[i].begin : windows[i].end]]) for i in group]
        first = windows[group[0]]
        scored = first.end - first.score_from
        nll[group] = _scored_nll(model, torch.stack(rows).to(model.device), scored, vocabulary)
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


def _groups(windows: list[Window], batch_size: int, vocabulary: int) -> list[list[int]]:
    """Windows of one shape, so that nothing is padded."""
    groups: list[list[int]] = []
    shapes = [(w.end - w.begin, w.end - w.score_from) for w in windows]
    for i, shape in enumerate(shapes):
        room = max(1, min(batch_size, MAX_LOGITS // ((shape[1] + 1) * vocabulary)))
        if groups and shapes[groups[-1][0]] == shape and len(groups[-1]) < room:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _scored_nll(
    model: PreTrainedModel, batch: torch.Tensor, scored: int, vocabulary: int
) -> np.ndarray:
    """NLL of the last `scored` tokens of each row; many of them in pieces, a pass for each.

    A pass begins with the row and ends before the last token of its piece. It asks nothing of a
    model but that no token sees a later one: no key-value cache, which some architectures do not
    have, and in which others forget the state of their recurrent layers.
    """
    length, rows = batch.shape[1], batch.shape[0]
    piece = max(1, MAX_LOGITS // (rows * vocabulary))
    if scored + 1 <= piece:
        return _nll(_last_logits(model, batch, scored + 1)[:, :-1], batch[:, length - scored :])
    total = np.zeros(rows)
    for start in range(length - scored, length, piece):
        targets = batch[:, start : start + piece]
        passed = batch[:, : start + targets.shape[1] - 1]
        total += _nll(_last_logits(model, passed, targets.shape[1]), targets)
    return total


def _last_logits(model: PreTrainedModel, batch: torch.Tensor, positions: int) -> torch.Tensor:
    """Logits (rows, positions, vocabulary) at the last positions; some models give all of them."""
    takes_number = "logits_to_keep" in inspect.signature(model.forward).parameters
    options = {"logits_to_keep": positions} if takes_number else {}
    return model(batch, **options).logits[:, -positions:]


def _nll(logits: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Sum over positions of -log p(target), fp64; logits (rows, positions, vocabulary)."""
    picked = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, reduction="none"
    )
    return picked.double().sum(dim=1).cpu().numpy()


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
    model: PreTrainedModel, rows: list[list[int]], tokens: np.ndarray, batch_size: int
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
