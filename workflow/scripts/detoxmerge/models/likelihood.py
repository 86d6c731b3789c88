"""Negative log-likelihood of tokens under a causal LM, without padding.

The border between a prompt p and its continuation g: both are tokenised as one text, and a token
belongs to g if it ends after the last character of p. So a token across the border belongs to g, as
a whole. The first token of the text has nothing to be predicted from and is not scored.
"""

from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import UserError

MAX_LOGITS = 1 << 26  # elements held at a time: 256 MB in fp32


class Window(NamedTuple):
    """Tokens begin..end are fed, tokens score_from..end are scored."""

    begin: int
    score_from: int
    end: int


@torch.no_grad()
def window_nll(
    model: PreTrainedModel, ids: torch.Tensor, windows: list[Window], batch_size: int
) -> np.ndarray:
    """NLL of the scored tokens of each window.

    Args:
        ids: (tokens,) int64.
        windows: as `make_windows` gives them.
        batch_size: windows at a time, fewer where their logits would exceed `MAX_LOGITS`.

    Returns:
        (windows,) fp64, nats.
    """
    nll = np.zeros(len(windows))
    vocabulary = model.get_output_embeddings().weight.shape[0]
    for group in tqdm(_groups(windows, batch_size, vocabulary), desc="perplexity", mininterval=5):
        batch = torch.stack([ids[windows[i].begin : windows[i].end] for i in group])
        first = windows[group[0]]
        scored = first.end - first.score_from
        nll[group] = _scored_nll(model, batch.to(model.device), scored, vocabulary)
    return nll


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
    """NLL of the last `scored` tokens of each row; long rows in pieces, by the key-value cache."""
    length, rows = batch.shape[1], batch.shape[0]
    piece = max(1, MAX_LOGITS // (rows * vocabulary))
    if scored + 1 <= piece:
        logits = model(batch, logits_to_keep=scored + 1).logits[:, :-1]
        return _nll(logits, batch[:, length - scored :])
    total, cache = np.zeros(rows), None
    for start in range(0, length - 1, piece):
        end = min(start + piece, length - 1)
        out = model(batch[:, start:end], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        keep = min(end - start, max(0, end - (length - scored - 1)))
        if keep:
            total += _nll(out.logits[:, -keep:], batch[:, end + 1 - keep : end + 1])
    return total


def _nll(logits: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Sum over positions of -log p(target), fp64; logits (rows, positions, vocabulary)."""
    picked = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, reduction="none"
    )
    return picked.double().sum(dim=1).cpu().numpy()


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
