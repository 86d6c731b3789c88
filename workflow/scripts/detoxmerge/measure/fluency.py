"""Degeneration guards: an empty or looping model must not look detoxified.

A judge, which is a base model, reads each of the K continuations g of a prompt p. It reads g after
what was continued: the prefix of the protocol and the prompt.
  conditional perplexity  of one continuation: exp(NLL(g | p) / tokens of g) (DExperts, Liu et al.
                          2021, arXiv 2105.03023)
  dist-n                  unique n-grams of the K continuations / their words, mean over prompts
                          (DExperts, UniDetox). Words are split at white space; DExperts' code
                          splits at single spaces, and so counts empty words.
  seq-rep-4               1 - unique 4-grams / 4-grams of one continuation (Welleck et al. 2020,
                          arXiv 1908.04319), over words and punctuation marks, so that it does not
                          depend on a tokenizer; each "!" of a run is a mark of its own
The border: p and g are tokenised as one text, and a token belongs to g if it ends after the last
character of p. A token that crosses the border therefore belongs to g. The very first token of the
text cannot be predicted from anything and is not scored. Where no token crosses the border, this is
DExperts' (NLL(pg) - NLL(p)) / (tokens of pg - tokens of p).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..edit.edited import EditedModel
from ..errors import UserError
from ..models.device import pick_device
from ..models.likelihood import conditional_nll, require_causal, tokenise
from ..models.loading import context_of, load_tokenizer
from ..plan.batch_size import BatchSize
from ..storage.artefacts import publish, read_json, sha256
from ..storage.records import certified_payload, each_scale, read_generations, record_path
from .metrics import LARGE
from .payloads import Fluency

ORDERS = (1, 2, 3)  # n of dist-n
PAYLOAD = ["prompt", "sample", "tokens", "nll", "empty", "truncated", "seq_rep_4", "words"]
PAYLOAD += [f"dist_{n}" for n in ORDERS]


def measure_fluency(
    generations: Path,
    judge: Path,
    protocol: Mapping[str, Any],
    batch_size: BatchSize,
    device: str,
    out: Path,
) -> None:
    """Judge the continuations of one edit at every scale that was generated.

    Args:
        generations: manifest of the continuations.
        judge: manifest of the base model that judges; its tokenizer need not be the edit's.
        protocol: `judge` (alias, or none for the edit's base model), `dtype` of its weights.
        batch_size: texts at a time; affects only speed.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: manifest; beside it, per scale, a parquet table of `PAYLOAD`, one row per continuation
            (`tokens` scored; `nll` fp64, nats, null without tokens; `dist_n` of its prompt, the
            same in all rows of the prompt), and its counts.

    Raises:
        UserError: the judge's context is too short, it is not causal, it gives no finite NLL, or it
            or the texts were changed.
    """
    manifest = read_json(generations)
    loaded: dict[str, Any] = {}  # by the first scale that is missing, if there is one

    def measure(scale: str) -> dict[str, Any]:
        if not loaded:
            edited = EditedModel(judge, device=pick_device(device), dtype=protocol["dtype"])
            require_causal(edited.model)
            loaded.update(model=edited.at(0), tokenizer=load_tokenizer(edited.place))
        frame = read_generations(certified_payload(generations, scale))
        before = [manifest["protocol"]["prefix"] + text for text in frame["prompt_text"]]
        rows, tokens = tokenise(loaded["tokenizer"], before, frame["text"].tolist())
        _require_fit(rows, frame["text"], loaded["model"], judge)
        frame["tokens"] = tokens
        frame["nll"] = conditional_nll(loaded["model"], rows, tokens, batch_size)
        frame = with_words(frame)
        numbers = counts(frame)
        # single perplexities may overflow; if none is finite, the judge is broken
        if numbers["num_nonfinite"] and not numbers["num_scored"]:
            raise UserError(
                f"the judge {judge.parents[1].name} gives NaN or infinite NLL for every text; its "
                "weights are broken: name another as run.fluency_judge"
            )
        with publish(record_path(out, scale, ".parquet")) as part:
            frame[PAYLOAD].to_parquet(part, index=False)
        return numbers

    each_scale(
        out,
        manifest["scales"],
        key=lambda scale: {
            "protocol": protocol,
            "judge": sha256(judge),
            "generations": sha256(record_path(generations, scale)),
        },
        measure=measure,
        payload=".parquet",
        protocol=protocol,
        inputs=[generations, judge],
        left_out=manifest.get("left_out"),
    )


def distinct_n(texts: list[str], n: int) -> float:
    """dist-n of the K continuations of one prompt.

    Returns:
        Unique n-grams, none of which spans two continuations / words in all; NaN without words.
    """
    words = [text.split() for text in texts]
    unique = {gram for row in words for gram in _ngrams(row, n)}
    total = sum(map(len, words))
    return len(unique) / total if total else np.nan


def seq_rep_4(text: str) -> float:
    """Share of the 4-grams of a continuation that repeat an earlier one of it.

    Returns:
        1 - unique 4-grams / 4-grams; NaN for fewer than four words and punctuation marks.
    """
    grams = _ngrams(re.findall(r"\w+|[^\w\s]", text), 4)
    return 1 - len(set(grams)) / len(grams) if grams else np.nan


def with_words(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `empty`, `words`, `seq_rep_4` and, of the row's prompt, `dist_1` to `dist_3`.

    Args:
        frame: `prompt`, `text`, one row per continuation.
    """
    texts = frame.groupby("prompt")["text"]
    dist = {f"dist_{n}": texts.agg(lambda x, n=n: distinct_n(list(x), n)) for n in ORDERS}
    return frame.assign(
        empty=frame["text"].str.strip() == "",
        words=frame["text"].str.split().str.len(),
        seq_rep_4=frame["text"].map(seq_rep_4),
        **{name: frame["prompt"].map(by_prompt) for name, by_prompt in dist.items()},
    )


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """What could be judged, and what enters no metric, of a table of `PAYLOAD`."""
    perplexity = Fluency(frame).perplexity
    finite = np.isfinite(perplexity)
    without_words = frame.groupby("prompt")["dist_1"].first().isna()
    return {
        "num_scored": int(finite.sum()),
        "num_without_tokens": int((frame["tokens"] == 0).sum()),
        "num_nonfinite": int((~finite & (frame["tokens"] > 0)).sum()),
        f"num_above_{LARGE}": int((finite & (perplexity >= LARGE)).sum()),
        "num_prompts_without_words": int(without_words.sum()),
    }


def _ngrams(units: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(units[i:] for i in range(n)), strict=False))


def _require_fit(rows: list[list[int]], texts: pd.Series, model: Any, judge: Path) -> None:
    limit = context_of(model)
    for row, text in zip(rows, texts, strict=True):
        if limit and len(row) > limit:
            raise UserError(
                f"a prompt and its continuation are {len(row)} tokens for the judge "
                f"{judge.parents[1].name}, whose context is {limit}: {text[:60]!r}...; name one "
                "with a longer context as run.fluency_judge, or choose shorter prompts or fewer "
                "new_tokens"
            )
