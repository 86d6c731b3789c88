"""From a model's own samples to the vectors of `methods.destein`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ...errors import UserError
from ...models.activations import pooled
from ...models.architectures import modules_of
from ...models.batch_size import RowLimit
from ...models.device import pick_device
from ...models.loading import context_of, load_model, load_tokenizer, move
from ...models.places import place_in
from ...models.scorers import load_scorer
from ...models.scoring import predictor, score_texts
from ...storage.artefacts import publish, read_json, sha256
from ...train.job import Job
from .pairs import (
    BATCH,
    Pair,
    Step,
    choose_pairs,
    find_pairs,
    rewriting,
    scored_samples,
    similar_likelihood,
    write_pairs,
)
from .probes import directions, probe_accuracy, write_vectors
from .rewriting import rewriter

if TYPE_CHECKING:
    from ..methods.destein import Params

RULES = {"released": "rotate", "paper": "add"}  # those of `verbs.hooks`


def fit(
    inputs: list[Path], params: "Params", prefixes: tuple[str, str], job: Job
) -> dict[str, Any]:
    """`build` of `methods.destein`: make the pairs, and a vector for each layer.

    Args:
        inputs: as `methods.destein.inputs` lists them.
        params: of that method.
        prefixes: put before the toxic and before the non-toxic texts.
        job: its folder gets the three files.

    Raises:
        UserError: there are too few pairs, a prefix leaves no room, or the architecture is unknown.
    """
    place, device = place_in(inputs[0]), pick_device(job.device)
    model, tokenizer = move(load_model(place), device), load_tokenizer(place)
    modules = modules_of(model, "attention")
    steps = _steps(inputs, params, model, tokenizer, device)
    pairs, counts = _pairs(inputs, params, steps)
    # activations at the last tokens of prompt and continuation together, behind the prefix
    texts = [[p.prompt + p.toxic for p in pairs], [f"{p.prompt}{p.nontoxic}" for p in pairs]]
    toxic, nontoxic = (
        pooled(
            model, rows_of(tokenizer, prefix, side, model, params.tokens), modules, params.tokens
        )
        for prefix, side in zip(prefixes, texts, strict=True)
    )
    # a direction per layer, weighted by how well its chunks tell the two sides apart
    heads = model.config.num_attention_heads
    accuracy = probe_accuracy(toxic, nontoxic, heads, params.train_share)
    vectors = directions(toxic, nontoxic, accuracy, params.rule)
    names = [f"direction.{layer}" for layer in range(len(modules))]
    named = dict(zip(names, vectors, strict=True))
    pairs_file, probes_file = job.out / "pairs.jsonl", job.out / "probes.csv"
    return {
        "rule": RULES[params.rule],
        "modules": dict(zip(modules, names, strict=True)),
        "tensors": write_vectors(job.out / "hooks.safetensors", named),
        "pairs": {"file": pairs_file.name, "sha256": write_pairs(pairs_file, pairs)}
        | {"num_pairs": len(pairs), **counts},
        "probes": {"file": probes_file.name, "sha256": _write_probes(probes_file, accuracy)}
        | {"mean_accuracy": float(accuracy.mean())},
    }


def rows_of(
    tokenizer: PreTrainedTokenizerBase,
    prefix: str,
    texts: list[str],
    model: PreTrainedModel,
    tokens: int,
) -> list[list[int]]:
    """Token ids of a prefix and each text, without spaces and full stops at the text's ends.

    A row that exceeds the model's context loses tokens behind the prefix, as the last `tokens` are
    those that are averaged.

    Raises:
        UserError: prefix and `tokens` exceed the context.
    """
    rows = tokenizer([prefix + text.strip(" .") for text in texts], verbose=False)["input_ids"]
    limit, kept = context_of(model), len(tokenizer(prefix.strip())["input_ids"])
    if limit is None:
        return rows
    if kept + tokens > limit:
        raise UserError(
            f"the prefix of {kept} tokens and {tokens} averaged ones exceed the model's context of "
            f"{limit}; set `prefix: short` or `prefix: false` in methods.destein, or fewer tokens"
        )
    return [row if len(row) <= limit else row[:kept] + row[kept - limit :] for row in rows]


def _steps(
    inputs: list[Path],
    params: "Params",
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    device: str,
) -> dict[str, Step]:
    """The steps that pairs have to pass, in order: a rewrite is judged by its likelihood, too."""
    steps: dict[str, Step] = {}
    if params.paraphraser:
        _, samples, scores, scorer, other = inputs
        label = read_json(scores)["protocol"]["label"]
        predict = predictor(load_scorer(scorer, device), label, scorer.parent.name)
        new_tokens = 2 * read_json(samples)["protocol"]["new_tokens"]  # polite words are longer
        rewrite = rewriter(place_in(other), device, new_tokens, params.pair_seed)

        def score(texts: list[str]) -> np.ndarray:
            return score_texts(texts, predict, RowLimit(BATCH))

        steps["rewriting"] = rewriting(rewrite, score, params.nontoxic_below)
    if params.max_perplexity_ratio is not None:
        steps["likelihood"] = similar_likelihood(model, tokenizer, params.max_perplexity_ratio)
    return steps


def _pairs(
    inputs: list[Path], params: "Params", steps: dict[str, Step]
) -> tuple[list[Pair], dict[str, int]]:
    """Exactly `count` pairs, and the counts of the manifest."""
    frame = scored_samples(inputs[1], inputs[2])
    rewritten = params.paraphraser is not None
    candidates, counts = find_pairs(frame, params.toxic_above, params.nontoxic_below, rewritten)
    pairs, dropped = choose_pairs(candidates, params.count, params.pair_seed, steps)
    if len(pairs) < params.count:
        also = "" if rewritten else f" and another below {params.nontoxic_below}"
        lost = "".join(f", {n} were dropped by {k.split('_')[-1]}" for k, n in dropped.items())
        raise UserError(
            f"{len(pairs)} pairs for count {params.count}: of {counts['num_prompts']} prompts of "
            f"'{params.prompts}' {len(candidates)} have a continuation scored above "
            f"{params.toxic_above}{also}{lost}; lower count or toxic_above in methods.destein, "
            "raise nontoxic_below, or take more prompts or samples"
        )
    return pairs, counts | dropped


def _write_probes(out: Path, accuracy: np.ndarray) -> str:
    layers, chunks = np.indices(accuracy.shape)
    columns = {"layer": layers.ravel(), "chunk": chunks.ravel(), "accuracy": accuracy.ravel()}
    with publish(out) as part:
        pd.DataFrame(columns).to_csv(part, index=False, lineterminator="\n")
    return sha256(out)
