"""Two stages: disjoint texts, rules that name what is there, and the files that both need."""

import pytest
from plan.studies import comments, load_config, prompts, refusal, study

from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.grid import Grid

FINAL = {
    "prompts.openings": prompts(part="validation"),
    "prompts.unseen": prompts(part="test"),
    "corpora.polite": comments(window_tokens=32, stride_tokens=16, part="validation"),
    "corpora.other": comments(window_tokens=32, stride_tokens=16, part="test"),
    "selectors.budget": {"rule": "ppl-budget", "budget": 0.5},
    "selectors.matched": {"rule": "matched", "to": "merge/n=1", "by": "budget"},
    "run.selectors": ["budget", "matched"],
    "run.final": {"prompts": ["unseen"], "corpora": ["other"], "scorers": ["judge"]},
}
EDIT = "rude/merge/n=2/seed42"


@pytest.fixture
def grid() -> Grid:
    """A study of two stages."""
    return Grid(load_config(study(FINAL)))


def test_final_sets_are_measured_at_what_was_chosen(grid: Grid) -> None:
    assert grid.scales_of_stage(EDIT, "openings") == ["0.5", "1"]
    assert grid.scales_of_stage(EDIT, "unseen") is None
    assert grid.scales_of_stage("base", "unseen") == ["0"]
    assert grid.choices("small", EDIT) == [
        f"results/evals/small/{EDIT}/selected-{name}.json" for name in ("budget", "matched")
    ]
    assert grid.choices("small", "base") == []


def test_every_result_of_both_stages_is_asked_for_and_expected(grid: Grid) -> None:
    found = grid.measurements("small", EDIT)
    assert [path.split("seed42/")[1] for path in found] == [
        "openings/toxicity-judge.json",
        "openings/fluency.json",
        "polite/perplexity.json",
        "unseen/toxicity-judge.json",
        "unseen/fluency.json",
        "other/perplexity.json",
        "selected-budget.json",
        "selected-matched.json",
    ]
    assert set(found) <= set(expected_protocols(grid))


def test_a_rule_reads_the_sweep_and_the_edit_it_matches(grid: Grid) -> None:
    found = grid.read_for_choice("small", EDIT, "matched")
    assert found["toxicity"] == f"results/evals/small/{EDIT}/openings/toxicity-judge.json"
    assert found["base_perplexity"] == "results/evals/small/base/polite/perplexity.json"
    single = "results/evals/small/rude/merge/n=1/seed42"
    assert found["matched_choice"] == f"{single}/selected-budget.json"
    assert "matched_choice" not in grid.read_for_choice("small", EDIT, "budget")


def test_what_a_rule_reads_belongs_to_its_protocol(grid: Grid) -> None:
    assert grid.protocol.selection("budget") == {
        "version": 1, "rule": "ppl-budget", "scale": None, "budget": 0.5, "ratio": None,
        "to": None, "by": None, "prompts": "openings", "scorer": "judge", "corpus": "polite",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompts.unseen": prompts()}, "run.final.prompts: 'unseen' may share texts with 'op"),
        ({"prompts.unseen": prompts(part="validation")}, "'unseen' may share texts with 'op"),
        (
            {"run.final": FINAL["run.final"] | {"prompts": ["openings"]}},
            "run.final.prompts: 'openings' may share texts with 'openings' of run.sweep",
        ),
        ({"run.selectors": []}, "`final` measures chosen scales: name a rule in run.selectors"),
        ({"run.selectors": ["budgte"]}, "'budgte' is not among selectors; did you mean 'budget'?"),
        (
            {"run.final": FINAL["run.final"] | {"scorers": ["jugde"]}},
            "run.final.scorers.0: 'jugde' is not among scorers; did you mean 'judge'?",
        ),
        (
            {"selectors.matched": {"rule": "matched", "to": "merge/n=9", "by": "budget"}},
            "selectors.matched.to: 'merge/n=9' is not among edits (method/setting)",
        ),
        (
            {"selectors.matched": {"rule": "matched", "to": "merge/n=1", "by": "matched"}},
            "selectors.matched.by: 'matched' is not among rules that choose one scale",
        ),
        (
            {"selectors.budget": {"rule": "fixed", "scale": 0.7}},
            "selectors.budget.scale: 0.7 is not among run.scales",
        ),
        (
            {
                "selectors.budget": {"rule": "ppl-ratio", "ratio": 2.0},
                "run.sweep.within": {"ppl_ratio": 1.5},
            },
            "selectors.budget.ratio: 2 is above run.sweep.within.ppl_ratio 1.5",
        ),
        ({"run.sweep.within": {"ppl_ratio": 1.0}}, "run.sweep.within.ppl_ratio: input should be"),
        (
            {"run.sweep.within": {"ppl_ratio": 2.0, "ratio": 2.0}},
            "run.sweep.within.ratio: unknown key; did you mean 'ppl_ratio'?",
        ),
        (
            {"run.final": FINAL["run.final"] | {"within": {"ppl_ratio": 2.0}}},
            "run.final.within: unknown key",
        ),
        (
            {"selectors.budget": {"rule": "ppl-budget", "budget": 0.5, "corpus": "other"}},
            "selectors.budget.corpus: 'other' is not among run.sweep.corpora",
        ),
    ],
)
def test_refused(changes: dict[str, object], sentence: str) -> None:
    assert sentence in refusal(FINAL | changes)


def test_splits_and_files_of_their_own_are_disjoint(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    window = {"window_tokens": 32, "stride_tokens": 16}
    files = {
        "corpora.polite": {"path": str(tmp_path / "a.jsonl"), **window},
        "corpora.other": {"path": str(tmp_path / "b.jsonl"), **window},
    }
    load_config(study(FINAL | files))
    one = files | {"corpora.other": {"path": str(tmp_path / "a.jsonl"), **window}}
    assert "may share texts" in refusal(FINAL | one)
    rows = {
        key: entry | {"path": str(tmp_path / "a.jsonl"), "where": {"split": part}}
        for (key, entry), part in zip(files.items(), ("validation", "test"), strict=True)
    }
    load_config(study(FINAL | rows))


def test_matched_beside_edits_without_a_data_set_and_seed_needs_a_single_one() -> None:
    tunes = [{"hub": "a/b", "revision": "0" * 40}]
    own = study()["models"]["small"] | {"fine_tunes": tunes}
    changes = FINAL | {
        "models.small": own,
        "methods.merge_given": {"n": 1},
        "run.methods": ["merge", "merge_given"],
        "selectors.matched": {"rule": "matched", "to": "merge/n=1", "by": "budget"},
        "run.selectors": ["budget", "matched"],
    }
    grid = Grid(load_config(study(changes)))
    read = grid.read_for_choice("small", "-/merge_given/n=1/seed-", "matched")
    assert "/rude/merge/n=1/seed42/" in read["matched_choice"]
    said = refusal(changes | {"run.seeds": [1, 2]})
    assert said.startswith("selectors.matched.to: merge has an edit for each seed, and merge_given")
    given = {"selectors.matched": {"rule": "matched", "to": "merge_given/n=1", "by": "budget"}}
    several = Grid(load_config(study(changes | given | {"run.seeds": [1, 2]})))
    read = several.read_for_choice("small", "rude/merge/n=1/seed2", "matched")
    assert "/-/merge_given/n=1/seed-/" in read["matched_choice"]
