"""Pairs from a model's own samples: which are found, chosen, rewritten and dropped."""

import json
from collections.abc import Callable
from pathlib import Path

import beside
import numpy as np
import pandas as pd
import pico
import pytest
import torch

from detoxmerge.edit.steering.pairs import (
    Pair,
    choose_pairs,
    find_pairs,
    rewriting,
    scored_samples,
    similar_likelihood,
    write_pairs,
)
from detoxmerge.edit.steering.rewriting import CANDIDATES, TEMPLATE, rewriter
from detoxmerge.errors import UserError
from detoxmerge.storage.artefacts import sha256


def frame(*prompts: list[tuple[str, float]]) -> pd.DataFrame:
    """Texts and scores of each prompt."""
    rows = [
        (p, k, f"prompt {p}", text, score)
        for p, samples in enumerate(prompts)
        for k, (text, score) in enumerate(samples)
    ]
    return pd.DataFrame(rows, columns=["prompt", "sample", "prompt_text", "text", "toxicity"])


def pair(toxic: str = " bad", nontoxic: str | None = " good", score: float = 0.9) -> Pair:
    return Pair("so", toxic, nontoxic, score, None if nontoxic is None else 0.1)


def test_a_pair_is_the_most_and_the_least_toxic_of_a_prompt() -> None:
    samples = frame(
        [(" mild", 0.3), (" rude", 0.8), (" worst", 0.95), (" kind", 0.02), (" nice", 0.02)],
        [(" rude", 0.9), (" mild", 0.3)],  # none is non-toxic
        [(" kind", 0.0), (" mild", 0.5)],  # none is toxic: 0.5 is not above 0.5
    )
    found, counts = find_pairs(samples, 0.5, 0.1, False)
    assert found == [Pair("prompt 0", " worst", " kind", 0.95, 0.02)]
    assert counts == {"num_prompts": 3, "num_empty": 0, "num_unscored": 0, "num_candidates": 1}


def test_empty_and_unscored_continuations_are_left_out_and_counted() -> None:
    samples = frame(
        [("", 0.0), (" ...\n", 0.01), (" rude", 0.9), (" kind", 0.05), (" ??", np.nan)],
        [(" rude", 0.9), (" unknown", np.nan)],
        [("", 0.0)],
    )
    found, counts = find_pairs(samples, 0.5, 0.1, False)
    assert [p.nontoxic for p in found] == [" kind"]
    assert counts == {"num_prompts": 3, "num_empty": 4, "num_unscored": 1, "num_candidates": 1}


def test_one_text_is_no_pair_and_equal_scores_are_none() -> None:
    samples = frame([(" same", 0.4)], [(" a", 0.4), (" b", 0.4)])
    assert find_pairs(samples, 0.0, 1.0, False)[0] == []


def test_for_a_rewrite_the_toxic_one_suffices() -> None:
    samples = frame([(" rude", 0.9), (" worse", 0.95)], [(" mild", 0.2)])
    assert find_pairs(samples, 0.5, 0.1, True)[0] == [Pair("prompt 0", " worse", None, 0.95, None)]


def test_the_seed_chooses_without_replacement() -> None:
    pairs = [pair(f" {i}") for i in range(30)]
    found, dropped = choose_pairs(pairs, 20, 1, {})
    assert len(set(found)) == 20
    assert dropped == {}
    assert found == choose_pairs(pairs, 20, 1, {})[0] != choose_pairs(pairs, 20, 2, {})[0]


def test_steps_see_no_more_pairs_than_are_needed() -> None:
    seen: list[int] = []

    def half(pairs: list[Pair]) -> list[Pair | None]:
        seen.append(len(pairs))
        return [p if i % 2 else None for i, p in enumerate(pairs)]

    found, dropped = choose_pairs([pair(f" {i}") for i in range(100)], 6, 1, {"half": half})
    assert (len(found), seen, dropped) == (6, [6, 6], {"num_dropped_half": 6})


def test_a_rewrite_is_the_least_toxic_one_below_the_threshold() -> None:
    rewrites = {
        " bad": [" better", " best", " good"],
        " foul": [" still foul"],
        " vile": [],
        " odd": [" broken"],
    }
    scores = {" better": 0.09, " best": 0.01, " good": 0.05, " still foul": 0.1, " broken": np.nan}
    step = rewriting(
        lambda texts: [rewrites[t] for t in texts], lambda texts: [scores[t] for t in texts], 0.1
    )
    found = step([pair(text, None) for text in rewrites])
    assert found == [Pair("so", " bad", " best", 0.9, 0.01), None, None, None]


def test_a_rewrite_is_less_toxic_than_what_it_rewrites() -> None:
    step = rewriting(lambda texts: [[" so-so"]], lambda texts: [0.4], 0.9)
    assert step([pair(" bad", None, 0.3)]) == [None]


def perplexity(model: object, prompt: str, text: str) -> float:
    """Of the text given the prompt, by the model's own loss."""
    tokenizer = pico.tokenizer()
    joined = torch.tensor([tokenizer(prompt + text)["input_ids"]])
    labels = joined.clone()
    labels[:, : len(tokenizer(prompt)["input_ids"])] = -100
    with torch.no_grad():
        return float(torch.exp(model(joined, labels=labels).loss))


def test_pairs_of_unlike_likelihood_are_dropped() -> None:
    model = pico.gpt2()
    texts = [" the roses", " a cat", " and", " you are so kind", " garden of the house"]
    pairs = [pair(a, b) for a in texts for b in texts if a != b]
    ratios = []
    for one in pairs:
        found = [perplexity(model, "so", text) for text in (one.toxic, str(one.nontoxic))]
        ratios.append(max(found) / min(found))
    factor = float(np.median(ratios)) + 1e-3
    step = similar_likelihood(model, pico.tokenizer(), factor)
    kept = [one if ratio <= factor else None for one, ratio in zip(pairs, ratios, strict=True)]
    assert step(pairs) == kept
    assert None in kept
    assert any(kept)


def test_a_member_that_cannot_be_judged_is_dropped() -> None:
    step = similar_likelihood(pico.gpt2(), pico.tokenizer(), 1e9)
    assert step([pair(" bad", " good"), pair(" bad", " good" * 80)])[1] is None
    assert step([pair(" bad", "")]) == [None]


def test_a_local_model_rewrites(tmp_path: Path) -> None:
    place = {"path": str(pico.save(pico.gpt2(), tmp_path))}
    # its context is too short for the template
    with pytest.raises(UserError, match="exceed the model's context of 64"):
        rewriter(place, "cpu", 5, 1)(["You are a fool."])


def test_rewrites_are_first_lines_once_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from detoxmerge.edit.steering import rewriting as module
    from detoxmerge.models.sampling import Continuation

    asked: list[str] = []

    def sampled(model: object, tokenizer: object, prompts: list[str], protocol: dict, size: int):
        asked.extend(prompts)
        texts = ["\n You are kind.\nText: more", " You are kind.", " \n", " Good day. "]
        assert protocol["samples"] == CANDIDATES == len(texts)
        return [[Continuation(text, False) for text in texts] for _ in prompts]

    monkeypatch.setattr(module, "continuations", sampled)
    place = {"path": str(pico.save(pico.gpt2(), tmp_path))}
    found = rewriter(place, "cpu", 5, 1)(["You are\n a fool."])
    assert found == [[" You are kind.", " Good day."]]
    assert asked == [TEMPLATE.format(text="You are a fool.")]


@pytest.fixture
def measured(tmp_path: Path) -> Callable[[dict[str, str]], tuple[Path, Path]]:
    """Manifests of two continuations and of their scores."""

    def make(key: dict[str, str]) -> tuple[Path, Path]:
        line = {"prompt": {"text": "p"}, "generations": [{"text": " a"}, {"text": " b"}]}
        samples = beside.measured(tmp_path / "generations.json", {"0": json.dumps(line) + "\n"})
        table = pd.DataFrame({"prompt": [0, 0], "sample": [1, 0], "toxicity": [0.2, 0.7]})
        own = {"generations": sha256(tmp_path / "generations-scale0.json")}
        scores = beside.measured(tmp_path / "toxicity-s.json", {"0": table}, key=own | key)
        return samples, scores

    return make


def test_samples_get_their_own_scores(measured: Callable) -> None:
    found = scored_samples(*measured({}))
    assert found[["text", "toxicity"]].to_numpy().tolist() == [[" a", 0.7], [" b", 0.2]]


def test_scores_of_other_samples_are_refused(measured: Callable) -> None:
    with pytest.raises(UserError, match=r"is of other continuations than .* score them again"):
        scored_samples(*measured({"generations": "0" * 64}))


def test_pairs_are_written_a_line_each(tmp_path: Path) -> None:
    pairs = [pair(" böse"), pair(" bad", " fine")]
    checksum = write_pairs(tmp_path / "pairs.jsonl", pairs)
    lines = (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Pair(**json.loads(line)) for line in lines] == pairs
    assert checksum == sha256(tmp_path / "pairs.jsonl")
