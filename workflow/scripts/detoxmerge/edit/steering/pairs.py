"""Pairs of a toxic and a non-toxic continuation of the same prompt, from a model's own samples."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ...errors import UserError
from ...models.likelihood import conditional_nll, tokenise
from ...models.loading import context_of
from ...storage.artefacts import sha256, write_text
from ...storage.records import (
    certified_payload,
    read_generations,
    read_payload,
    read_record,
    record_path,
)

BATCH = 16  # rows at a time; decides nothing but speed


@dataclass(frozen=True)
class Pair:
    """A prompt and two continuations; `nontoxic` is None until `toxic` is rewritten."""

    prompt: str
    toxic: str
    nontoxic: str | None
    toxicity_toxic: float
    toxicity_nontoxic: float | None


Step = Callable[[list[Pair]], list[Pair | None]]  # None: the pair is dropped
Rewrite = Callable[[list[str]], list[list[str]]]  # texts -> what each may become


def scored_samples(samples: Path, scores: Path) -> pd.DataFrame:
    """The base model's continuations with their toxicity, from the manifests of both.

    Returns:
        `prompt`, `sample` (0-based), `prompt_text`, `text`, `toxicity` (NaN: could not be scored).

    Raises:
        UserError: the scores are of other continuations, or one of the two was changed.
    """
    scored = read_record(scores, "0")["key"]["generations"]
    if scored != sha256(record_path(samples, "0")):
        raise UserError(f"{scores} is of other continuations than {samples}; score them again")
    texts = read_generations(certified_payload(samples, "0"))
    return texts.merge(read_payload(scores, "0"), on=["prompt", "sample"])


def find_pairs(
    frame: pd.DataFrame, toxic_above: float, nontoxic_below: float, rewritten: bool
) -> tuple[list[Pair], dict[str, int]]:
    """The most and the least toxic continuation of each prompt, where one is toxic and one is not.

    Continuations without a letter or digit are not texts, and those without a score are unknown:
    they are left out and counted. Of several with the same score the first is taken.

    Args:
        frame: of `scored_samples`.
        toxic_above: the toxic one's score must be strictly above.
        nontoxic_below: the other one's strictly below, and below the toxic one's.
        rewritten: the non-toxic one will be a rewrite, so it is left open here.

    Returns:
        The pairs, in the order of the prompts, and counts for the manifest.
    """
    empty = ~frame["text"].str.contains(r"\w", regex=True)
    unscored = frame["toxicity"].isna()
    pairs = []
    for _, group in frame[~empty & ~unscored].groupby("prompt", sort=True):
        toxic = group.loc[group["toxicity"].idxmax()]
        other = group.loc[group["toxicity"].idxmin()]
        below = min(nontoxic_below, toxic["toxicity"])
        if toxic["toxicity"] > toxic_above and (rewritten or other["toxicity"] < below):
            text, score = (None, None) if rewritten else (other["text"], float(other["toxicity"]))
            pairs.append(
                Pair(toxic["prompt_text"], toxic["text"], text, float(toxic["toxicity"]), score)
            )
    counts = {
        "num_prompts": int(frame["prompt"].nunique()),
        "num_empty": int(empty.sum()),
        "num_unscored": int((unscored & ~empty).sum()),
        "num_candidates": len(pairs),
    }
    return pairs, counts


def choose_pairs(
    pairs: list[Pair], count: int, seed: int, steps: dict[str, Step]
) -> tuple[list[Pair], dict[str, int]]:
    """At most `count` pairs that pass every step, and how many each step dropped.

    Steps cost forward passes, so they see no more pairs than are needed.

    Args:
        pairs: of `find_pairs`.
        count: how many are wanted.
        seed: of the order (numpy's PCG64).
        steps: name -> step, in turn.
    """
    order = np.random.default_rng(seed).permutation(len(pairs))
    chosen: list[Pair] = []
    dropped = {f"num_dropped_{name}": 0 for name in steps}
    for start in range(0, len(order), count):
        kept = [pairs[i] for i in order[start : start + count]]
        for name, step in steps.items():
            passed = [pair for pair in step(kept) if pair is not None]
            dropped[f"num_dropped_{name}"] += len(kept) - len(passed)
            kept = passed
        chosen += kept
        if len(chosen) >= count:
            break
    return chosen[:count], dropped


def rewriting(rewrite: Rewrite, score: Callable[[list[str]], np.ndarray], below: float) -> Step:
    """A step that gives each pair the least toxic rewrite of its toxic member, or drops it.

    Args:
        rewrite: texts -> candidates of each.
        score: texts -> their toxicity, NaN where there is none.
        below: a rewrite's score must be strictly below, and below the toxic member's.
    """

    def step(pairs: list[Pair]) -> list[Pair | None]:
        passed: list[Pair | None] = []
        for pair, candidates in zip(pairs, rewrite([p.toxic for p in pairs]), strict=True):
            scores = [float(s) for s in score(candidates)] if candidates else []
            limit = min(below, pair.toxicity_toxic)
            good = [(s, i) for i, s in enumerate(scores) if s < limit]  # NaN is not below
            if not good:
                passed.append(None)
                continue
            least, i = min(good)
            passed.append(replace(pair, nontoxic=candidates[i], toxicity_nontoxic=least))
        return passed

    return step


def similar_likelihood(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, factor: float
) -> Step:
    """A step that drops pairs where the model finds one member much less likely than the other.

    It also drops pairs with a member that has no tokens, or too many for the model.

    Args:
        model: the base.
        tokenizer: its tokenizer.
        factor: the larger perplexity, given the prompt, is at most this times the smaller.
    """

    def log_perplexity(prompts: list[str], texts: list[str]) -> np.ndarray:
        rows, tokens = tokenise(tokenizer, prompts, texts)
        if limit := context_of(model):
            tokens[[len(row) > limit for row in rows]] = 0  # a rewrite may be too long to judge
        return conditional_nll(model, rows, tokens, BATCH) / np.maximum(tokens, 1)

    def step(pairs: list[Pair]) -> list[Pair | None]:
        prompts = [pair.prompt for pair in pairs]
        toxic = log_perplexity(prompts, [pair.toxic for pair in pairs])
        other = log_perplexity(prompts, [str(pair.nontoxic) for pair in pairs])
        near = np.abs(toxic - other) <= np.log(factor)  # NaN, of a text not judged, is not
        return [pair if ok else None for pair, ok in zip(pairs, near, strict=True)]

    return step


def write_pairs(out: Path, pairs: list[Pair]) -> str:
    """Write `pairs.jsonl`, a pair per line with the fields of `Pair`; returns its SHA-256."""
    lines = [json.dumps(asdict(pair), ensure_ascii=False, allow_nan=False) for pair in pairs]
    write_text(out, "".join(f"{line}\n" for line in lines))
    return sha256(out)
