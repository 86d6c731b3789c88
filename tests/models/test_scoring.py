"""Texts are tokenised once, sorted by tokens, and scored once; scores are those of Detoxify."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.test_scorer_length import READ, checkpoint

from detoxmerge.models.batch_size import RowLimit
from detoxmerge.models.scorers.checkpoint import load
from detoxmerge.models.scoring import predictor, score_texts

# long words and short texts are mixed: characters would sort them another way
TEXTS = ["w1 w2 w3", "x" * 90, "w4", "w1 " * 40, "w5 w6 w7 w8 w9", "", "w1 w2 w3", "y" * 70 + " w1"]


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """(rows, tokens) of each batch that a model reads."""
    seen: list[tuple[int, ...]] = []
    call = torch.nn.Module.__call__

    def spy(self: Any, *args: Any, **fields: Any) -> Any:
        if "input_ids" in fields and type(self).__name__.endswith("SequenceClassification"):
            seen.append(tuple(fields["input_ids"].shape))
        return call(self, *args, **fields)

    monkeypatch.setattr(torch.nn.Module, "__call__", spy)
    return seen


@pytest.mark.parametrize("kind", list(READ))
def test_scores_are_those_of_detoxify(tmp_path: Path, kind: str) -> None:
    scorer = load(checkpoint(tmp_path, kind, None), "cpu")
    texts = [text for text in TEXTS if text]  # these tokenizers add nothing to an empty one
    for label in scorer.class_names:
        wanted = [scorer.predict([text])[label] for text in texts]
        found = score_texts(texts, predictor(scorer, label, "own"), RowLimit(3))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert len(set(wanted)) > 2


def test_batches_are_of_similar_numbers_of_tokens(
    tmp_path: Path, shapes: list[tuple[int, ...]]
) -> None:
    scorer = load(checkpoint(tmp_path, "Bert", None), "cpu")
    texts = ["x" * 90, "w1 w2 w3", "y" * 80, "w4 w5 w6"]
    score_texts(texts, predictor(scorer, "toxicity", "own"), RowLimit(2))
    assert shapes == [(2, 1), (2, 3)]


def test_equal_texts_are_scored_once(tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    scorer = load(checkpoint(tmp_path, "Bert", None), "cpu")
    scores = score_texts(
        ["w1", "w2", "w1", "w1"], predictor(scorer, "toxicity", "own"), RowLimit(8)
    )
    assert shapes == [(2, 1)]
    assert scores[0] == scores[2] == scores[3] != scores[1]


def test_texts_are_tokenised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = load(checkpoint(tmp_path, "Bert", None), "cpu")
    given: list[str] = []
    tokenize = scorer.tokenizer

    class Spy:
        pad = tokenize.pad

        def __call__(self, texts: list[str], **options: Any) -> Any:
            given.extend(texts)
            return tokenize(texts, **options)

    scorer.tokenizer = Spy()
    score_texts(["w1", "w2 w3", "w1"], predictor(scorer, "toxicity", "own"), RowLimit(1))
    assert given == ["w1", "w2 w3"]


def test_a_text_that_cannot_be_tokenised_fails_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    scorer = load(checkpoint(tmp_path, "Bert", None), "cpu")
    texts = ["w1", "half a character \ud83d", "w2", "w1"]
    scores = score_texts(texts, predictor(scorer, "toxicity", "own"), RowLimit(2))
    assert np.isnan(scores).tolist() == [False, True, False, False]
    assert "text 1 could not be scored" in capsys.readouterr().out
