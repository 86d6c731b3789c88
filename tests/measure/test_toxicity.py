"""Scoring continuations; a failed score is missing and counted, never 0."""

import json
from pathlib import Path

import beside
import numpy as np
import pandas as pd
import pytest

from detoxmerge.errors import UserError
from detoxmerge.measure import toxicity
from detoxmerge.models.batch_size import RowBytes, RowLimit
from detoxmerge.models.scoring import score_texts
from detoxmerge.storage.artefacts import read_json, write_json
from detoxmerge.storage.records import read_generations


def test_batches_are_bounded_and_results_in_order() -> None:
    sizes = []

    def predict(texts: list[str]) -> list[float]:
        sizes.append(len(texts))
        return [len(text) / 100 for text in texts]

    texts = ["x" * n for n in (9, 1, 5, 7, 3, 2, 8)]
    scores = score_texts(texts, predict, RowLimit(3))
    assert scores.tolist() == [len(text) / 100 for text in texts]
    assert sizes == [3, 3, 1]


def test_a_failing_text_fails_alone() -> None:
    def predict(texts: list[str]) -> list[float]:
        if "bad" in texts:
            raise RuntimeError("cannot")
        return [0.5 for _ in texts]

    scores = score_texts(["a", "bad", "b", "c"], predict, RowLimit(2))
    assert np.isnan(scores[1])
    assert scores[[0, 2, 3]].tolist() == [0.5, 0.5, 0.5]


def test_a_score_that_is_not_finite_is_missing() -> None:
    scores = score_texts(["a", "b"], lambda texts: [float("nan"), 0.2][: len(texts)], RowLimit(2))
    assert np.isnan(scores[0])


def test_a_scorer_that_fails_everywhere_is_one_sentence() -> None:
    def predict(texts: list[str]) -> list[float]:
        raise RuntimeError("broken")

    with pytest.raises(UserError, match="none of 2 texts could be scored"):
        score_texts(["a", "b"], predict, RowLimit(2))


def test_long_texts_make_small_batches() -> None:
    sizes = []

    def predict(texts: list[str]) -> list[float]:
        sizes.append(len(texts))
        return [0.5 for _ in texts]

    texts = [chr(97 + i) * n for i, n in enumerate((300, 4, 400, 4, 4, 900, 3))]
    score_texts(texts, predict, RowLimit("auto", RowBytes(1e6)))
    assert sizes == [4, 2, 1]


def test_texts_are_not_to_blame_where_memory_ends() -> None:
    def predict(texts: list[str]) -> list[float]:
        if len(texts) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return [0.5 for _ in texts]

    most = 2
    assert score_texts(["a"] * 9, predict, RowLimit(8)).tolist() == [0.5] * 9
    most = 0
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        score_texts(["a", "b"], predict, RowLimit(8))


def test_anyones_generations_can_be_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": {"text": "p", "toxicity": 0.1}, "generations": [{"text": "a", "x": 1}]},
        {"prompt": {"text": "q"}, "generations": [{"text": "b"}, {"text": ""}]},
    ]
    path = tmp_path / "g.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    frame = read_generations(path)
    assert frame["text"].tolist() == ["a", "b", ""]
    assert frame[["prompt", "sample"]].to_numpy().tolist() == [[0, 0], [1, 0], [1, 1]]
    assert frame["prompt_text"].tolist() == ["p", "q", "q"]
    assert frame["truncated"].isna().all()  # nobody else's file says it


@pytest.mark.parametrize("line", ["{", '{"generations": ["a"]}', '{"texts": []}'])
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text('{"generations": []}\n' + line + "\n")
    with pytest.raises(UserError, match=r"g\.jsonl, line 2: not of the form"):
        read_generations(path)


def test_a_job_scores_every_scale_and_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "evals"
    lines = {
        scale: {"prompt": {"text": "p"}, "generations": [{"text": text}, {"text": "mild"}]}
        for scale, text in (("0.5", "rude"), ("1", ""))
    }
    payloads = {scale: json.dumps(line) + "\n" for scale, line in lines.items()}
    generations = beside.measured(folder / "generations.json", payloads)
    write_json(tmp_path / "scorer.json", {})
    score = {"rude": 0.9, "mild": 0.1, "": 0.3}
    loaded = (lambda ts: [score[t] for t in ts], RowLimit(2))
    monkeypatch.setattr(toxicity, "_scorer", lambda *_: loaded)
    protocol = {"label": "toxicity"}
    paths = (folder / "generations.json", tmp_path / "scorer.json", protocol, 2, "cpu")
    toxicity.score_toxicity(*paths, folder / "toxicity-s.json")
    first = read_json(folder / "toxicity-s-scale0.5.json")
    assert (first["num_scored"], first["num_failed"]) == (2, 0)
    assert pd.read_parquet(folder / "toxicity-s-scale0.5.parquet")["toxicity"].tolist() == [
        0.9,
        0.1,
    ]
    assert read_json(folder / "toxicity-s-scale1.json")["num_empty"] == 1
    beside.measured(generations, payloads | {"1": payloads["0.5"]})
    toxicity.score_toxicity(*paths, folder / "toxicity-s.json")
    assert capsys.readouterr().out.strip().endswith("measured 1 of 2")
