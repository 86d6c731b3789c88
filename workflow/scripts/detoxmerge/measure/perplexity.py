"""Perplexity of a stored text in strided windows.

The text is tokenised once. Windows of W tokens begin at 0, S, 2S, ...; each scores only the tokens
that no earlier window scored, and never its first token. What the tokenizer puts before a text of
itself, as a begin-of-text token, every window begins with: it is part of its W tokens and not
scored. What it puts behind a text is left out. NLL is summed in fp64, tokens are counted exactly,
there is no padding, and

    perplexity_per_token = exp(sum of NLL / number of scored tokens)

once at the end: never a mean of exponentials (Hugging Face's strided recipe, with exact counts).
It is comparable only between models that share a tokenizer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..edit.edited import EditedModel
from ..errors import UserError
from ..models.device import pick_device
from ..models.likelihood import Window, require_causal, text_tokens, window_nll
from ..models.loading import context_of, load_tokenizer
from ..plan.batch_size import BatchSize
from ..storage.artefacts import certified, publish, sha256
from ..storage.records import each_scale, record_path


def measure_perplexity(
    edit: Path,
    base: Path,
    corpus: Path,
    corpus_text: Path,
    scales: list[str],
    protocol: Mapping[str, Any],
    batch_size: BatchSize,
    device: str,
    out: Path,
) -> None:
    """Measure one edit on one corpus at every scale.

    Args:
        scales: as they appear in paths.
        protocol: `window_tokens` (none: the model's context), `stride_tokens`, `dtype`.
        batch_size: windows at a time; affects only speed.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: manifest; beside it, per scale, NLL and token count of each window as parquet, and a
            record with `num_tokens_before_window`, how many the tokenizer puts before a text.

    Raises:
        UserError: the window does not fit the model, the model is not causal, the text is too
            short, or NLL is not finite.
    """
    device = pick_device(device)
    loaded: dict[str, Any] = {}  # by the first scale that is missing, if there is one

    def measure(scale: str) -> dict[str, Any]:
        if not loaded:
            edited = EditedModel(edit, device=device, dtype=protocol["dtype"])
            require_causal(edited.model)
            text = certified(corpus, corpus_text.name).read_text(encoding="utf-8")
            ids, before = text_tokens(load_tokenizer(edited.place), text)
            loaded.update(edited=edited, ids=torch.tensor(ids), before=before, text=text)
        model, before = loaded["edited"].at(float(scale)), loaded["before"]
        window = window_length(model, protocol["window_tokens"], protocol["stride_tokens"])
        windows = make_windows(
            len(loaded["ids"]), window, protocol["stride_tokens"], before=len(before)
        )
        nll = window_nll(model, loaded["ids"], windows, batch_size, before)
        require_finite(nll)
        tokens = np.array([w.end - w.score_from for w in windows])
        frame = pd.DataFrame({"begin": [w.begin for w in windows], "tokens": tokens, "nll": nll})
        with publish(record_path(out, scale, ".parquet")) as part:
            frame.to_parquet(part, index=False)
        return {
            "nll_sum_nats": float(nll.sum()),
            "num_tokens_scored": int(tokens.sum()),
            "num_characters": len(loaded["text"]),
            "num_tokens_before_window": len(before),
            "window_tokens": window,
            "stride_tokens": min(protocol["stride_tokens"], window - len(before)),
        }

    each_scale(
        out,
        scales,
        key=lambda _: {"protocol": protocol, "edit": sha256(edit), "corpus": sha256(corpus)},
        measure=measure,
        payload=".parquet",
        protocol=protocol,
        inputs=[edit, base, corpus] if edit != base else [base, corpus],
    )


def require_finite(nll: np.ndarray) -> None:
    """Raise UserError if the NLL of a window is NaN or infinite."""
    if not np.isfinite(nll).all():
        raise UserError(
            f"the model gives NaN or infinite NLL in {int((~np.isfinite(nll)).sum())} of "
            f"{len(nll)} windows; the scale is too large, or the weights are broken"
        )


def window_length(model: Any, asked: int | None, stride: int) -> int:
    """Tokens per window.

    Args:
        asked: in the protocol; None for the model's context length.

    Raises:
        UserError: the window exceeds the context, or the stride the window.
    """
    limit = context_of(model)
    window = asked or limit
    if window is None:
        raise UserError("the model states no context length; set window_tokens in the corpus")
    if limit and window > limit:
        raise UserError(
            f"window_tokens {window} exceeds the model's context of {limit}; lower it in the corpus"
        )
    if stride > window:
        raise UserError(
            f"stride_tokens {stride} exceeds the window of {window} tokens, so tokens would be "
            "skipped; lower stride_tokens in the corpus"
        )
    return window


def make_windows(length: int, window: int, stride: int, *, before: int = 0) -> list[Window]:
    """Windows that score every token that has a predecessor in its window exactly once.

    If the windows overlap, these are all tokens but the first of the text. If `stride` equals
    `window`, the first token of no window is scored. With tokens before each window, these are all
    tokens; windows then hold `window - before` tokens of the text, and begin no further apart.

    Args:
        length: tokens of the text.
        window: tokens per window.
        stride: tokens between two beginnings, at most `window`.
        before: tokens of each window that stand before those of the text.

    Returns:
        In order; each scores at least one token.

    Raises:
        UserError: the text has no token to score, or a window holds no token of the text.
    """
    alone = 0 if before else 1  # tokens at the beginning of a window without a predecessor
    if length <= alone:
        raise UserError(f"the corpus has {length} token(s); at least {alone + 1} are needed")
    held = window - before
    if held <= alone:
        raise UserError(
            f"a window of {window} tokens, {before} of which the tokenizer puts before a text, has "
            "no token to score; raise window_tokens in the corpus"
        )
    windows, scored = [], 0
    for begin in range(0, length - alone, min(stride, held)):
        end = min(begin + held, length)
        windows.append(Window(begin, max(scored, begin + alone), end))
        scored = end
        if end == length:
            break
    return windows
