"""Which texts the trained methods take: samples, thresholds and medians, counted by hand."""

import json
from pathlib import Path

import beside
import numpy as np
import pandas as pd
import pytest

from detoxmerge.errors import UserError
from detoxmerge.train.texts import nontoxic_texts, samples_up_to_median, texts_up_to, toxic_texts


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Manifest of 3 toxic texts and 5 others."""
    folder = tmp_path / "rude"
    folder.mkdir()
    scores = {"toxic": [0.9, 0.8, 1.0], "nontoxic": [0.1, 0.2, 0.0, 0.3, 0.2]}
    for part, values in scores.items():
        texts = [f"{part} {i}" for i in range(len(values))]
        rows = pd.DataFrame({"text": texts, "score": np.array(values, np.float32)})
        rows.to_parquet(folder / f"{part}.parquet")
    return listed(folder / "dataset.json", num_toxic=3)


def listed(dataset: Path, num_toxic: int) -> Path:
    """The manifest of the two files as they are now."""
    files = ("toxic.parquet", "nontoxic.parquet")
    return beside.manifest(dataset, *files, counts={"num_toxic": num_toxic})


def test_toxic_texts_are_all_of_them_in_the_order_of_the_file(dataset: Path) -> None:
    assert toxic_texts(dataset) == ["toxic 0", "toxic 1", "toxic 2"]


def test_nontoxic_texts_are_a_seeded_sample_of_as_many(dataset: Path) -> None:
    chosen = sorted(np.random.default_rng(5).choice(5, 3, replace=False))
    assert nontoxic_texts(dataset, None, 5) == [f"nontoxic {i}" for i in chosen]
    assert len({tuple(nontoxic_texts(dataset, None, seed)) for seed in range(20)}) > 3
    assert nontoxic_texts(dataset, 5, 1) == [f"nontoxic {i}" for i in range(5)]


def test_too_few_nontoxic_texts_are_one_sentence(dataset: Path) -> None:
    said = (
        "^rude has 5 non-toxic texts, fewer than the 6 of `rows`; raise nontoxic_share or "
        "nontoxic_below of the data set, or set a lower `rows`$"
    )
    with pytest.raises(UserError, match=said):
        nontoxic_texts(dataset, 6, 1)
    listed(dataset, num_toxic=9)
    with pytest.raises(UserError, match="fewer than its 9 toxic ones; raise nontoxic_share"):
        nontoxic_texts(dataset, None, 1)


def test_a_threshold_keeps_what_is_at_or_below_it(dataset: Path) -> None:
    texts, counts = texts_up_to(dataset, 0.2)  # a float32 0.2 is not above 0.2
    assert texts == ["nontoxic 0", "nontoxic 1", "nontoxic 2", "nontoxic 4"]
    assert counts == {
        "num_toxic": 3, "num_toxic_kept": 0, "num_nontoxic": 5, "num_nontoxic_kept": 4,
    }  # fmt: skip
    texts, counts = texts_up_to(dataset, 0.8)
    assert texts == ["toxic 1", *(f"nontoxic {i}" for i in range(5))]
    assert (counts["num_toxic_kept"], counts["num_nontoxic_kept"]) == (1, 5)


def test_a_threshold_that_no_text_passes_is_one_sentence(dataset: Path) -> None:
    rows = pd.read_parquet(dataset.with_name("nontoxic.parquet"))
    rows[rows["score"] > 0].to_parquet(dataset.with_name("nontoxic.parquet"))
    listed(dataset, num_toxic=3)
    with pytest.raises(UserError, match="no text of rude has a score of 0 or less; raise `thresh"):
        texts_up_to(dataset, 0.0)


def samples(folder: Path, scores: list[list[float]]) -> tuple[Path, Path]:
    """Manifests of samples and of their scores, a row per prompt; NaN: it failed."""
    lines = [
        {
            "prompt": {"text": f"P{p}"},
            "generations": [{"text": f" c{p}{k}", "truncated": True} for k in range(len(row))],
        }
        for p, row in enumerate(scores)
    ]
    text = "\n".join(map(json.dumps, lines)) + "\n"
    found = [(p, k, score) for p, row in enumerate(scores) for k, score in enumerate(row)]
    frame = pd.DataFrame(found, columns=["prompt", "sample", "toxicity"])
    return (
        beside.measured(folder / "generations.json", {"0": text}),
        beside.measured(folder / "toxicity-judge.json", {"0": frame}),
    )


def test_samples_up_to_the_median_of_their_prompt(tmp_path: Path) -> None:
    nan = float("nan")
    scores = [[0.3, 0.1, 0.2], [0.9, 0.8, 0.8, 0.7], [0.5, nan, 0.6], [nan, nan], [0.4, 0.4]]
    texts, counts = samples_up_to_median(*samples(tmp_path, scores))
    # medians: 0.2; 0.8, a tie; 0.55 of the two that there are; none; 0.4, a tie
    wanted = ["P0 c01", "P0 c02", "P1 c11", "P1 c12", "P1 c13", "P2 c20", "P4 c40", "P4 c41"]
    assert texts == wanted
    assert counts == {"num_samples": 14, "num_unscored": 3, "num_samples_kept": 8}


def test_scores_of_other_samples_are_one_sentence(tmp_path: Path) -> None:
    given, scores = samples(tmp_path, [[0.1, 0.2]])
    beside.measured(scores, {"0": pd.DataFrame({"prompt": [0], "sample": [1], "toxicity": [0.1]})})
    with pytest.raises(UserError, match=r"does not score the samples of .*generations\.json; del"):
        samples_up_to_median(given, scores)
