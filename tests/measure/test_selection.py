"""Rules that choose a scale: what each takes, and what it says when nothing satisfies it."""

from math import inf, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from detoxmerge.measure.selection import (
    Point,
    excess,
    left_out,
    pareto,
    reaching,
    select_scale,
    within,
)
from detoxmerge.plan.catalogue import Selector
from detoxmerge.plan.entries import protocol
from detoxmerge.storage.artefacts import read_json, sha256, write_json, write_manifest
from detoxmerge.storage.records import record_path

BASE = Point("0", 0.20, 20.0)
CURVE = [
    Point("0.5", 0.15, 20.3),
    Point("1", 0.10, 20.9),
    Point("1.5", 0.12, 20.4),  # less scale was less toxic, and this is cheaper: kept by pareto
    Point("2", 0.05, inf),
]


@pytest.mark.parametrize(
    ("limit", "chosen"), [(20.3, ["0.5"]), (20.5, ["1.5"]), (30.0, ["1.5"]), (20.0, [])]
)
def test_the_largest_scale_within_a_perplexity(limit: float, chosen: list[str]) -> None:
    assert within(CURVE, limit)[0] == chosen


@pytest.mark.parametrize(
    ("target", "chosen"), [(0.3, ["0.5"]), (0.12, ["1"]), (0.09, ["2"]), (0.01, [])]
)
def test_the_smallest_scale_that_is_as_little_toxic(target: float, chosen: list[str]) -> None:
    assert reaching(CURVE, target)[0] == chosen


def test_pareto_keeps_what_nothing_beats_not_even_the_base() -> None:
    assert pareto(CURVE, BASE) == ["0.5", "1", "1.5", "2"]
    worse = [Point("0.25", 0.21, 20.1), *CURVE, Point("3", 0.05, inf), Point("4", 0.06, inf)]
    assert pareto(worse, BASE) == ["0.5", "1", "1.5", "2", "3"]


@pytest.mark.parametrize(
    ("perplexity", "base", "why"),
    [
        (30.0, 20.0, None),
        (19.0, 20.0, None),
        (36.6, 20.0, "ppl_ratio 1.83 > 1.5"),
        (inf, 20.0, "ppl_ratio inf > 1.5"),
        (nan, 20.0, "ppl_ratio nan > 1.5"),
        (20.0, inf, "ppl_ratio 0 > 1.5"),
        (20.0, nan, "ppl_ratio nan > 1.5"),
    ],
)
def test_a_perplexity_above_the_limit_says_how_far(
    perplexity: float, base: float, why: str | None
) -> None:
    assert excess(perplexity, base, 1.5) == why


def test_a_scale_is_left_out_by_any_corpus(tmp_path: Path) -> None:
    def pair(corpus: str, numbers: dict[str, float]) -> tuple[Path, Path]:
        edit = measurement(tmp_path / "edit" / corpus, "perplexity", numbers)
        return edit, measurement(tmp_path / "base" / corpus, "perplexity", {"0": 20.0})

    pairs = [
        pair("novels", {"0.5": 21.0, "1": 29.9, "2": inf, "3": 25.0}),
        pair("news", {"0.5": 21.0, "1": 40.0, "2": 40.0, "3": 30.1}),
    ]
    assert left_out(["0.5", "1", "2", "3"], pairs, 1.5) == {
        "1": "ppl_ratio 2 > 1.5 on news",
        "2": "ppl_ratio inf > 1.5 on novels",
        "3": "ppl_ratio 1.505 > 1.5 on news",
    }
    assert left_out(["0.5", "1"], pairs, 2.1) == {}


def measurement(
    folder: Path, metric: str, numbers: dict[str, float], **content: dict[str, str]
) -> Path:
    """A manifest with a record and a table per scale."""
    path, files = folder / f"{metric}.json", {}
    path.parent.mkdir(parents=True, exist_ok=True)
    for scale, number in numbers.items():
        nll = 1000.0 if number == inf else float(np.log(number))  # e^1000 is no float
        toxicity = {"prompt": [0], "toxicity": [number]}
        table = {"nll": [nll], "tokens": [1]} if metric == "perplexity" else toxicity
        payload, record = record_path(path, scale, ".parquet"), record_path(path, scale)
        pd.DataFrame(table).to_parquet(payload)
        write_json(record, {"payload": payload.name, "sha256": sha256(payload)})
        files[record.name] = sha256(record)
    write_manifest(path, protocol={}, inputs=[], files=files, scales=list(numbers), **content)
    return path


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """The sweep of an edit and of the base."""
    edit = {
        "toxicity": {point.scale: point.toxicity for point in CURVE},
        "perplexity": {point.scale: point.perplexity for point in CURVE},
    }
    base = {"toxicity": {"0": 0.2}, "perplexity": {"0": 20.0}}
    manifests = {name: measurement(tmp_path / "edit", name, edit[name]) for name in edit}
    return manifests | {
        f"base_{name}": measurement(tmp_path / "base", name, base[name]) for name in base
    }


def choose(sources: dict[str, Path], out: Path, **entry: object) -> tuple[list[str], str]:
    """Scales and reason of a selector."""
    select_scale(sources, protocol(Selector(**entry)), out)
    choice = read_json(out)
    return choice["scales"], choice["reason"]


def test_every_rule_by_its_name(sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "selected.json"
    assert choose(sources, out, rule="fixed", scale=1.0)[0] == ["1"]
    assert choose(sources, out, rule="ppl-budget", budget=0.35)[0] == ["0.5"]
    assert choose(sources, out, rule="ppl-ratio", ratio=1.03)[0] == ["1.5"]
    assert choose(sources, out, rule="pareto")[0] == ["0.5", "1", "1.5", "2"]


def test_a_rule_that_nothing_satisfies_says_what_is_nearest(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    scales, reason = choose(sources, tmp_path / "s.json", rule="ppl-budget", budget=0.1)
    assert scales == []
    assert reason == "no scale has perplexity <= 20.1; the lowest is 20.3, at 0.5"


def test_matched_goes_to_the_other_edits_toxicity(sources: dict[str, Path], tmp_path: Path) -> None:
    other = measurement(tmp_path / "other", "toxicity_mean", {"0.5": 0.18, "1": 0.11})
    choice = tmp_path / "other" / "selected-budget.json"
    write_manifest(choice, protocol={}, inputs=[], files={}, scales=["1"], reason="-")
    matched = sources | {"matched_toxicity": other, "matched_choice": choice}
    entry = {"rule": "matched", "to": "merge/n=1", "by": "budget"}
    scales, reason = choose(matched, tmp_path / "s.json", **entry)
    assert scales == ["1"]
    assert reason == "toxicity 0.1 <= 0.11, that of merge/n=1 at 1"
    write_manifest(choice, protocol={}, inputs=[], files={}, scales=[], reason="too dear")
    scales, reason = choose(matched, tmp_path / "s.json", **entry)
    assert scales == []
    assert reason == "budget chose no scale of merge/n=1: too dear"


def test_no_rule_chooses_a_scale_that_was_left_out(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    """Also not one that has a perplexity, and would satisfy it."""
    toxicity, out = {point.scale: point.toxicity for point in CURVE[:2]}, tmp_path / "s.json"
    gone = {"1.5": "ppl_ratio 1.83 > 1.5 on polite", "2": "ppl_ratio inf > 1.5 on polite"}
    measurement(tmp_path / "edit", "toxicity", toxicity, left_out=gone)
    told = " (left out of the sweep: 1.5, 2)"
    assert choose(sources, out, rule="fixed", scale=1.0) == (["1"], "as the config says" + told)
    assert choose(sources, out, rule="fixed", scale=2.0) == ([], "scale 2 has no toxicity" + told)
    assert choose(sources, out, rule="ppl-budget", budget=0.5)[0] == ["0.5"]
    assert choose(sources, out, rule="pareto")[0] == ["0.5", "1"]
    gone = dict.fromkeys(("0.5", "1", "1.5", "2"), "ppl_ratio 1.83 > 1.5 on polite")
    measurement(tmp_path / "edit", "toxicity", {}, left_out=gone)
    for entry in ({"rule": "fixed", "scale": 1.0}, {"rule": "ppl-ratio", "ratio": 9.0}):
        scales, reason = choose(sources, out, **entry)
        assert scales == []
        assert reason == "no scale has a toxicity (left out of the sweep: 0.5, 1, 1.5, 2)"


@pytest.mark.parametrize(
    "entry",
    [
        {"rule": "fixed"},
        {"rule": "ppl-budget", "ratio": 1.1},
        {"rule": "matched", "to": "merge/n=1"},
        {"rule": "pareto", "scale": 1.0},
    ],
)
def test_a_rule_takes_its_own_values_only(entry: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"rule {entry['rule']} takes"):
        Selector(**entry)
