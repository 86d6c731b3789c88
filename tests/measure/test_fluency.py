"""Degeneration guards against hand computation: the border, the counts, loops, empty texts."""

import json
import math
from pathlib import Path
from typing import Any

import beside
import numpy as np
import pandas as pd
import pico
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from detoxmerge.errors import UserError
from detoxmerge.measure import fluency
from detoxmerge.measure.fluency import (
    PAYLOAD,
    distinct_n,
    measure_fluency,
    seq_rep_4,
)
from detoxmerge.models.likelihood import conditional_nll, tokenise
from detoxmerge.storage.artefacts import read_json, sha256

PROMPTS = ["The gardener", "Yesterday we talked about the", "I"]
TEXTS = [" planted roses.", " weather, and", "'m glad"]
WORDS = ["the", "gardener", "gar", "grows", "roses", "of"]


def words() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words; white space stands in no token."""
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[unk]", *WORDS])}, "[unk]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[unk]")


def by_hand(model: Any, ids: list[int], tokens: int) -> float:
    """NLL of the last tokens of one row, from the logits of an undivided pass."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    logs = torch.log_softmax(logits, -1)
    return -sum(logs[t - 1, ids[t]].item() for t in range(len(ids) - tokens, len(ids)))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_nll_is_that_of_the_continuation_given_its_prompt(family: str) -> None:
    model, tokenizer = getattr(pico, family)(), pico.tokenizer()
    rows, tokens = tokenise(tokenizer, PROMPTS, TEXTS)
    for row, count, prompt, text in zip(rows, tokens, PROMPTS, TEXTS, strict=True):
        assert row == tokenizer(prompt + text)["input_ids"]
        assert tokenizer.decode(row[-count:]) == text
    nll = conditional_nll(model, rows, tokens, 2)
    assert nll == pytest.approx(
        [by_hand(model, row, count) for row, count in zip(rows, tokens, strict=True)], rel=1e-5
    )


def test_a_uniform_judge_has_its_vocabulary_as_perplexity() -> None:
    model = pico.gpt2()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    rows, tokens = tokenise(pico.tokenizer(), PROMPTS, TEXTS)
    assert np.exp(conditional_nll(model, rows, tokens, 8) / tokens) == pytest.approx(300, rel=1e-6)


@pytest.mark.parametrize("batch_size", [2, 5, 100])
def test_batches_change_nothing(batch_size: int) -> None:
    texts = [text[: 1 + k] for text in pico.texts(12, 3) for k in range(0, 12, 3)]
    rows, tokens = tokenise(pico.tokenizer(), ["A gardener said:"] * len(texts), texts)
    assert len({len(row) for row in rows}) < len(rows) / 3  # there is something to batch
    one_by_one = conditional_nll(pico.gpt2(), rows, tokens, 1)
    assert conditional_nll(pico.gpt2(), rows, tokens, batch_size) == pytest.approx(
        one_by_one, rel=1e-5
    )


@pytest.mark.parametrize(
    ("prompt", "text", "ids", "tokens"),
    [
        ("the", " roses", [1, 5], 1),
        ("the ", "roses", [1, 5], 1),  # the blank is the prompt's
        ("the gar", "dener grows", [1, 2, 4], 2),  # a token across the border is scored, whole
        ("gar", "dener grows", [2, 4], 1),  # the very first token has nothing before it
        ("gar", "dener", [], 0),
        ("the", "", [], 0),
        ("the", " \n", [], 0),  # no token stands for it
    ],
)
def test_the_border(prompt: str, text: str, ids: list[int], tokens: int) -> None:
    rows, counts = tokenise(words(), [prompt], [text])
    assert (rows, counts.tolist()) == ([ids], [tokens])


def test_tokens_that_a_tokenizer_adds_are_not_scored() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = words()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="of $A of", special_tokens=[("of", 6)]
    )
    rows, tokens = tokenise(tokenizer, ["gar"], ["dener grows"])
    assert (rows, tokens.tolist()) == ([[6, 2, 4]], [2])  # now the first has something before it


@pytest.mark.parametrize("template", ["<end> $A", "<end> $A <end>", "$A <end>"])
def test_a_judge_reads_as_its_tokenizer_begins_a_text(template: str) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = pico.tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<end>", 0)]
    )
    rows, tokens = tokenise(tokenizer, PROMPTS, TEXTS)
    begin = [0] if template.startswith("<end>") else []
    plain = pico.tokenizer()
    assert rows == [begin + plain(p + t)["input_ids"] for p, t in zip(PROMPTS, TEXTS, strict=True)]
    assert tokens.tolist() == tokenise(plain, PROMPTS, TEXTS)[1].tolist()
    nll = conditional_nll(pico.llama(), rows, tokens, 2)
    wanted = [by_hand(pico.llama(), row, n) for row, n in zip(rows, tokens, strict=True)]
    assert nll == pytest.approx(wanted, rel=1e-5)


def test_a_text_without_tokens_has_no_nll() -> None:
    rows, tokens = tokenise(pico.tokenizer(), ["I", "I"], ["", " am"])
    nll = conditional_nll(pico.gpt2(), rows, tokens, 4)
    assert np.isnan(nll).tolist() == [True, False]
    assert np.isnan(conditional_nll(pico.gpt2(), rows[:1], tokens[:1], 4)).all()


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match="no character offsets"):
        tokenise(Slow(), ["I"], [" am"])


def test_distinct_n_counts_ngrams_of_all_continuations_over_their_words() -> None:
    texts = [" a b a b", "b a\nc", ""]
    assert distinct_n(texts, 1) == pytest.approx(3 / 7)
    assert distinct_n(texts, 2) == pytest.approx(3 / 7)  # ab, ba, ac: none across two texts
    assert distinct_n(texts, 3) == pytest.approx(3 / 7)
    assert math.isnan(distinct_n([" ", ""], 1))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d e f g", 0),
        (" of" * 10, 6 / 7),
        ("!" * 20, 16 / 17),  # a single word, and few tokens of a tokenizer that merges marks
        ("she said, she said, she said, she said,", 6 / 9),
        ("a b c d a b c d", 1 / 5),
        ("no no no", math.nan),
        (" \n", math.nan),
    ],
)
def test_seq_rep_4(text: str, share: float) -> None:
    assert seq_rep_4(text) == pytest.approx(share, nan_ok=True)


def generated(out: Path, last: str = "!" * 20) -> Path:
    """Manifest of continuations at two scales; `last` is one at scale 1."""
    payloads = {}
    for scale, texts in {"0.5": TEXTS, "1": ["", " of" * 10, last]}.items():
        lines = [
            {"prompt": {"text": p}, "generations": [{"text": t, "truncated": True}, {"text": " a"}]}
            for p, t in zip(PROMPTS, texts, strict=True)
        ]
        payloads[scale] = "".join(json.dumps(line) + "\n" for line in lines)
    return beside.measured(out, payloads, protocol={"prefix": "Well. "})


@pytest.fixture
def job(gpt2_base: Path, tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "evals"
    return {
        "generations": generated(folder / "generations.json"),
        "judge": gpt2_base,
        "protocol": {"judge": None, "dtype": "float32"},
        "batch_size": 4,
        "device": "cpu",
        "out": folder / "fluency.json",
    }


def table(job: dict[str, Any], scale: str) -> pd.DataFrame:
    return pd.read_parquet(job["out"].with_name(f"fluency-scale{scale}.parquet"))


def test_a_job_judges_every_scale_and_only_what_is_missing(
    job: dict[str, Any], capsys: pytest.CaptureFixture
) -> None:
    measure_fluency(**job)
    rows = table(job, "0.5")
    assert rows.columns.tolist() == PAYLOAD
    assert rows[["prompt", "sample"]].to_numpy().tolist() == [
        [p, k] for p in (0, 1, 2) for k in (0, 1)
    ]
    assert rows["truncated"].isna().tolist() == [False, True] * 3
    ids, tokens = tokenise(pico.tokenizer(), ["Well. " + p for p in PROMPTS], TEXTS)
    wanted = [by_hand(pico.gpt2(), row, n) for row, n in zip(ids, tokens, strict=True)]
    assert rows["nll"][::2].tolist() == pytest.approx(wanted, rel=1e-5)
    looping = table(job, "1")
    assert looping["empty"].tolist() == [True] + [False] * 5
    assert (looping["seq_rep_4"] > 0.5).tolist() == [False, False, True, False, True, False]
    assert looping["nll"].isna().tolist() == [True] + [False] * 5
    assert read_json(job["out"].with_name("fluency-scale1.json"))["num_without_tokens"] == 1
    made = read_json(job["out"])["inputs"]
    assert made == {str(job[key]): sha256(job[key]) for key in ("generations", "judge")}
    generated(job["generations"], last="!")
    measure_fluency(**job)
    assert capsys.readouterr().out.strip().endswith("measured 1 of 2")
    measure_fluency(**(job | {"protocol": job["protocol"] | {"judge": "other"}}))
    assert capsys.readouterr().out.strip().endswith("measured 2 of 2")


def test_another_judge_measures_anew_by_its_own_tokenizer(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    measure_fluency(**job)
    judge = pico.base(pico.llama(), tmp_path / "judge")
    words().save_pretrained(tmp_path / "judge/model")
    measure_fluency(**(job | {"judge": judge}))
    assert capsys.readouterr().out.strip().endswith("measured 2 of 2")
    result = table(job, "1")
    assert result["tokens"].tolist() == [0, 1, 10, 1, 1, 1]  # "I!!!" is one word


def test_a_judge_with_too_short_a_context_is_refused(job: dict[str, Any], tmp_path: Path) -> None:
    model = pico.gpt2()
    model.config.n_positions = 8
    model.transformer.wpe = torch.nn.Embedding(8, 16)
    judge = pico.base(model, tmp_path / "brief")
    words = r"are \d+ tokens for the judge brief, whose context is 8: .*run.fluency_judge"
    with pytest.raises(UserError, match=words):
        measure_fluency(**(job | {"judge": judge}))
    assert not list(job["out"].parent.glob("fluency*"))


def test_a_judge_that_gives_no_number_is_refused(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = lambda model, rows, *_: np.full(len(rows), np.nan)  # noqa: E731
    monkeypatch.setattr(fluency, "conditional_nll", nothing)
    with pytest.raises(UserError, match="gives NaN or infinite NLL for every text"):
        measure_fluency(**job)
