"""Best-of-N: the least toxic of N samples by a scorer that does not evaluate; N = 1 is the base."""

import os
from pathlib import Path
from typing import Any

import pico
import pytest
import torch
from plan.studies import comments, refusal, study

from detoxmerge.edit.build import make_edit
from detoxmerge.edit.edited import EditedModel
from detoxmerge.edit.methods import best_of_n
from detoxmerge.edit.verbs import choose, tensor_bytes
from detoxmerge.errors import UserError
from detoxmerge.models.sampling import Row, continuations, uniforms
from detoxmerge.models.sampling_request import PLAIN, Sampling, candidates_at
from detoxmerge.plan.edits import Edit
from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.plan.registry import METHODS
from detoxmerge.storage.artefacts import read_json, sha256, write_manifest
from detoxmerge.train.job import Job

PROMPTS = ["The gardener", "Yesterday we talked about the", "I"]
SAMPLING = {
    "samples": 3, "new_tokens": 6, "temperature": 1.0, "top_p": 0.9, "top_k": 0, "prefix": "",
    "seed": 1,
}  # fmt: skip


class Scorer:
    """Detoxify's interface; a text is the more toxic the longer it is."""

    class_names = ("toxicity", "es")

    def __init__(self) -> None:
        self.model = torch.nn.Linear(3, 2)
        self.model.register_buffer("places", torch.zeros(5, dtype=torch.int64))
        self.calls: list[list[str]] = []

    def predict(self, texts: list[str]) -> dict[str, Any]:
        self.calls.append(list(texts))
        if "unscorable" in texts:
            raise RuntimeError("cannot")
        scores = [len(text) / 100 for text in texts]
        return {"es": scores if len(texts) > 1 else scores[0]}


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    """The hand-made scorer in place of every other; `loaded` tells from where."""
    made = Scorer()
    made.loaded = []
    loads = lambda place, device: made.loaded.append((place, device)) or made  # noqa: E731
    monkeypatch.setattr(choose, "load_scorer", loads)
    return made


@pytest.fixture
def edit(gpt2_base: Path, tmp_path: Path) -> Path:
    """`edit.json`, as the method writes it."""
    judge = tmp_path / "scorers" / "oracle" / "scorer.json"
    write_manifest(judge, protocol={}, inputs=[], files={"a.ckpt": "1"})
    params = best_of_n.Params(scorer="oracle")
    of = Edit("m", "-", "best_of_n", "scorer=oracle", "-", params)
    out = tmp_path / "edit" / "edit.json"
    make_edit(of, {"version": 1, "label": "es"}, gpt2_base, [judge], Job(out))
    return out


def drawn(edited: EditedModel, scale: float, batch: int = 4, model: Any = None) -> list[list[Any]]:
    model = model or edited.at(scale)
    asked = edited.sampling(scale)
    return continuations(model, pico.tokenizer(), PROMPTS, SAMPLING, batch, asked)


def test_the_manifest_refers_to_the_scorer_and_changes_with_it(edit: Path) -> None:
    found = read_json(edit)
    judge = edit.parent / found["scorer"]
    assert not os.path.isabs(found["scorer"])
    assert judge.resolve() == edit.parents[1] / "scorers" / "oracle" / "scorer.json"
    assert sha256(judge) in found["inputs"].values()
    assert (found["verb"], found["files"], found["protocol"]["label"]) == ("choose", {}, "es")


def test_the_scale_is_log2_of_n() -> None:
    assert [candidates_at(s) for s in (0, 0.5, 1, 1.5, 2, 5)] == [1, 1, 2, 3, 4, 32]
    assert [best_of_n.forwards(best_of_n.Params(scorer="oracle"), s) for s in (0, 1, 3)] == [
        1.0,
        2.0,
        8.0,
    ]
    with pytest.raises(ValueError, match="must be 0 or more, not -1"):
        candidates_at(-1)


def test_n_1_is_the_base_bit_for_bit_and_loads_no_scorer(
    edit: Path, gpt2_base: Path, scorer: Scorer
) -> None:
    edited, base = EditedModel(edit, device="cpu"), EditedModel(gpt2_base, device="cpu")
    assert drawn(edited, 0) == drawn(base, 0)
    assert edited.sampling(0) is PLAIN
    assert scorer.loaded == []


def test_the_least_toxic_of_n_is_kept_and_the_first_is_a_plain_sample(
    edit: Path, gpt2_base: Path, scorer: Scorer
) -> None:
    edited, every = EditedModel(edit, device="cpu"), []
    asked = edited.sampling(2)

    def first(groups: list[list[str]]) -> list[int]:
        every.extend(groups)
        return [0] * len(groups)

    spied = Sampling(candidates=asked.candidates, pick=first)
    plain = continuations(edited.at(2), pico.tokenizer(), PROMPTS, SAMPLING, 4, spied)
    assert plain == drawn(EditedModel(gpt2_base, device="cpu"), 0)
    kept = [c.text for row in drawn(edited, 2) for c in row]
    assert [len(group) for group in every] == [4] * 9
    assert kept == [min(group, key=len) for group in every]
    assert kept != [group[0] for group in every]
    assert all(len(set(group)) > 1 for group in every)


def test_n_that_grows_only_adds_candidates() -> None:
    numbers = [uniforms(1, 0, 0, 5, candidate).tolist() for candidate in range(4)]
    assert numbers[0] == uniforms(1, 0, 0, 5).tolist()
    assert len({tuple(row) for row in numbers}) == 4
    assert Row(0, 0, 0) < Row(0, 0, 1) < Row(0, 1, 0)


def test_all_continuations_are_scored_in_full_batches_by_a_scorer_loaded_once(
    edit: Path, scorer: Scorer
) -> None:
    edited = EditedModel(edit, device="cpu")
    one = drawn(edited, 3, batch=1)
    assert [len(texts) for texts in scorer.calls] == [64, 8]  # of 9 * 8
    assert drawn(edited, 3, batch=100) == one
    assert [(place.name, device) for place, device in scorer.loaded] == [("scorer.json", "cpu")]


def test_picking_in_groups_is_picking_one_by_one(edit: Path, scorer: Scorer) -> None:
    verb = EditedModel(edit, device="cpu").verb
    groups = [["eee", "e", ""], ["a", "e"], ["ee", "e", "eee"]] * 30
    together = verb.pick(groups)
    assert together == [place for group in groups for place in verb.pick([group])]
    assert together == [2, 0, 1] * 30


def test_of_equal_scores_the_first_wins(edit: Path, scorer: Scorer) -> None:
    verb = EditedModel(edit, device="cpu").verb
    assert verb.pick([["ee", "e", "e"], ["a", "b", "c"]]) == [1, 0]


def test_a_candidate_without_a_score_is_taken_only_if_none_has_one(
    edit: Path, scorer: Scorer, capsys: pytest.CaptureFixture
) -> None:
    verb = EditedModel(edit, device="cpu").verb
    bad = "unscorable"
    assert verb.pick([[bad, "eeee"], ["e", bad, ""], [bad, bad], ["ee", "e"]]) == [1, 2, 0, 1]
    said = capsys.readouterr().out
    assert "1 of 4 continuations: no candidate has a score; first taken" in said
    verb.pick([["a", bad]])
    assert "first taken" not in capsys.readouterr().out


def test_a_scorer_that_is_broken_or_lacks_the_label_is_one_sentence(
    edit: Path, scorer: Scorer
) -> None:
    verb = EditedModel(edit, device="cpu").verb
    with pytest.raises(UserError, match="none of 2 texts could be scored"):
        verb.pick([["unscorable", "unscorable"]])
    scorer.class_names = ("toxicity",)
    verb = EditedModel(edit, device="cpu").verb
    with pytest.raises(UserError, match="the scorer oracle has no label 'es'; it has toxicity"):
        verb.pick([["a", "b"]])


def test_the_scorer_is_what_it_holds_beside_the_base(edit: Path, scorer: Scorer) -> None:
    verb = EditedModel(edit, device="cpu").verb
    assert verb.extra_bytes() == 4 * (3 * 2 + 2) + 8 * 5
    assert verb.forwards(2) == 4.0
    with pytest.raises(ValueError, match="0 or more"):
        verb.apply(-1)


def test_bytes_of_tensors_that_share_memory_count_once() -> None:
    tied = torch.zeros(10, dtype=torch.float16)
    assert tensor_bytes([tied, tied, tied.view(2, 5), torch.zeros(3)]) == 20 + 12
    assert tensor_bytes([]) == 0
    model = pico.gpt2()
    wanted = 4 * sum(p.numel() for p in model.parameters())  # tied embeddings once
    assert tensor_bytes([*model.parameters(), model.lm_head.weight]) == wanted


def chosen_by(scorer: str, **more: Any) -> dict[str, Any]:
    """Changes of the smallest study."""
    changes = {"methods.best_of_n": {"scorer": scorer}, "run.methods": ["best_of_n"]}
    changes["run.method_scales"] = {"best_of_n": [1.0, 2.0]}
    oracle = {"train": {"texts": [comments()], "test": {"own": comments()}, "epochs": 7}}
    return {"scorers.oracle": oracle} | changes | more


def test_a_study_of_it_has_a_scorer_that_does_not_evaluate() -> None:
    grid = Grid(load_config(study(chosen_by("oracle"))))
    (edit,) = grid.edits
    assert edit.edit == "-/best_of_n/scorer=oracle/seed-"
    assert grid.inputs_of(edit) == ["results/data/scorers/oracle/scorer.json"]
    assert set(grid.inputs_of(edit)) <= set(expected_protocols(grid))
    assert grid.protocol.edit("best_of_n", edit.params) == {"version": 1, "label": "toxicity"}
    assert METHODS["best_of_n"].Params.model_fields["scorer"].is_required()


def test_the_label_that_is_read_belongs_to_the_edit() -> None:
    changes = chosen_by("oracle")
    changes["scorers.oracle"] = changes["scorers.oracle"] | {"label": "insult"}
    grid = Grid(load_config(study(changes)))
    assert grid.protocol.edit("best_of_n", grid.edits[0].params)["label"] == "insult"


def test_a_scorer_that_evaluates_is_refused() -> None:
    assert refusal(chosen_by("judge")) == (
        "methods.best_of_n: scorer 'judge' evaluates in this study; name another one to choose by"
    )


def test_a_scorer_of_the_final_stage_is_refused() -> None:
    stage = study()["run"]["sweep"]
    changes = {
        "run.final": stage | {"scorers": ["oracle"], "prompts": ["later"], "corpora": ["novels"]},
        "selectors.best": {"rule": "pareto"},
        "run.selectors": ["best"],
        "prompts.openings": {**study()["prompts"]["openings"], "part": "validation"},
        "prompts.later": {**study()["prompts"]["openings"], "part": "test"},
        "corpora.polite": {**study()["corpora"]["polite"], "part": "validation"},
        "corpora.novels": {**study()["corpora"]["polite"], "part": "test"},
    }
    assert "scorer 'oracle' evaluates in this study" in refusal(chosen_by("oracle", **changes))


@pytest.mark.parametrize("more", [{}, {"label": "insult", "thresholds": [0.1], "batch_size": 1}])
def test_the_same_network_by_another_name_is_refused(more: dict[str, Any]) -> None:
    twin = study()["scorers"]["judge"] | more
    assert refusal(chosen_by("twin", **{"scorers.twin": twin})) == (
        "methods.best_of_n: scorer 'twin' is the same network as 'judge', which evaluates in this "
        "study; name another one to choose by"
    )


@pytest.mark.parametrize(
    ("scales", "counts"), [([0.25, 1.0], "1, 2"), ([1.0, 1.1], "2, 2"), (None, "1, 2")]
)
def test_scales_that_draw_the_same_n_are_refused(scales: Any, counts: str) -> None:
    own = {"best_of_n": scales} if scales else {}
    said = refusal(chosen_by("oracle", **{"run.method_scales": own}))
    assert said == (
        f"methods.best_of_n: the scale is log2 N, and these scales give N = {counts}, of which 1 "
        "is the base model; set run.method_scales.best_of_n, for example to [1.0, 2.0, 3.0]"
    )


def test_a_scorer_outside_of_the_catalogue_is_refused() -> None:
    assert "methods.best_of_n.scorer: 'oracel' is not among scorers; did you mean 'oracle'?" in (
        refusal(chosen_by("oracel"))
    )
