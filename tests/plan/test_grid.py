"""The selection crossed out: which edits, measurements and protocols a study consists of."""

import json
import re
from types import SimpleNamespace

import pytest
from plan.studies import comments, load_config, prompts, refusal, study
from pydantic import BaseModel, Field

from detoxmerge.errors import UserError
from detoxmerge.plan.entries import alias_of
from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.exports import exports_of, find_export
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.registry import (
    METHODS,
    OPERATORS,
    left_out,
    merged_shards,
    of_kind,
    recipe_of,
    scorer_of,
)
from detoxmerge.plan.slug import SETTING


class Strength(BaseModel, extra="forbid", strict=True):
    """Parameters of a method that trains nothing."""

    strength: float = 1.0


@pytest.fixture
def shift(monkeypatch):
    """A method that depends on neither data set nor seed."""
    module = SimpleNamespace(
        KIND="fit",
        VERB="logits",
        VERSION=3,
        USES=(),
        Params=Strength,
        inputs=lambda params, at: [at.base()],
    )
    monkeypatch.setitem(METHODS, "shift", module)
    return module


def grid(changes=None):
    return Grid(load_config(study(changes)))


def test_edits_are_every_model_data_set_setting_and_seed_once():
    found = grid(
        {
            "models.large": {"pretrain": {"texts": [comments()]}},
            "datasets.mean": comments(),
            "run.models": ["small", "large"],
            "run.datasets": ["rude", "mean"],
            "run.seeds": [1, 2, 3],
        }
    ).edits
    assert len(found) == 2 * 2 * 2 * 3
    assert len({(edit.model, edit.edit) for edit in found}) == len(found)
    assert found[0].edit == "rude/merge/n=1/seed1"
    assert found[0].params.n == 1


def test_swept_parameters_are_crossed_and_scalars_fixed():
    changes = {"recipes.long": {"epochs": 9}}
    found = grid(changes | {"methods.merge": {"n": [1, 4], "recipe": ["default", "long"]}})
    assert [setting for _, setting in found.settings] == [
        "n=1", "n=1--recipe=long", "n=4", "n=4--recipe=long",
    ]  # fmt: skip


def test_entries_of_a_method_are_each_crossed_and_name_only_what_is_not_default():
    found = grid(
        {
            "recipes.long": {"epochs": 9},
            "methods.merge": [
                {"n": [1, 5], "recipe": "long"},
                {"n": 5, "operator": "ties", "density": [0.2, 0.5], "recipe": "long"},
                {"n": [3, 5], "operator": ["median", "mean"], "exclude": [["wte", "ln_"]]},
                {"n": 2, "operator": "weighted", "weights": [None, [0.25, 0.75]]},
                {"n": 2, "operator": "della", "layout": "conv1d", "lines_alpha": 0.5},
            ],
        }
    )
    assert [setting for _, setting in found.settings] == [
        "n=1--recipe=long",
        "n=5--recipe=long",
        "n=5--operator=ties--recipe=long",
        "n=5--operator=ties--density=0.5--recipe=long",
        "n=3--operator=median--exclude=ln_+wte",
        "n=3--exclude=ln_+wte",
        "n=5--operator=median--exclude=ln_+wte",
        "n=5--exclude=ln_+wte",
        "n=2--operator=weighted",
        "n=2--operator=weighted--weights=0.25+0.75",
        "n=2--operator=della--layout=conv1d--lines_alpha=0.5",
    ]
    assert all(re.fullmatch(SETTING, setting) for _, setting in found.settings)


def test_operators_of_one_n_share_its_fine_tunes():
    one = grid({"methods.merge": {"n": 3}})
    all_three = grid({"methods.merge": {"n": 3, "operator": ["mean", "ties", "snr"]}})
    assert all_three.fine_tunes == one.fine_tunes
    assert all_three.shard_sets == one.shard_sets
    assert len(all_three.edits) == 3


def test_version_of_an_operator_is_expected_of_its_edits_only(monkeypatch):
    study_grid = grid({"methods.merge": {"n": 3, "operator": ["mean", "ties", "snr"]}})
    monkeypatch.setattr(OPERATORS["ties"], "VERSION", 7)
    folder = "results/models/small/rude/merge"
    for setting, version in {"": {}, "--operator=ties": 7, "--operator=snr": 1}.items():
        found = expected_protocols(study_grid)[f"{folder}/n=3{setting}/seed42/edit.json"]
        own = {"operator_version": version} if version else {}
        assert found == {"version": METHODS["merge"].VERSION} | own


def test_limit_of_the_sweep_makes_sampling_wait_for_perplexity():
    changes = {"corpora.more": comments(window_tokens=32, stride_tokens=16)}
    changes |= {"run.sweep.corpora": ["polite", "more"]}
    edit, none = "rude/merge/n=1/seed42", {"perplexity": [], "base_perplexity": []}
    assert grid(changes).limited_by("small", edit, "openings") == none
    assert grid(changes).limit_in_words == ""
    limited = grid(changes | {"run.sweep.within": {"ppl_ratio": 1.5}})
    assert limited.limited_by("small", "base", "openings") == none
    assert limited.limited_by("small", edit, "openings") == {
        name: [f"results/evals/small/{of}/{c}/perplexity.json" for c in ("polite", "more")]
        for name, of in (("perplexity", edit), ("base_perplexity", "base"))
    }
    said = "at 4 scales at most, of 2 edits; those whose perplexity on polite or more is above 1.5"
    assert said in limited.limit_in_words


def test_method_without_training_is_not_multiplied_by_data_sets_and_seeds(shift):
    found = grid(
        {
            "datasets.mean": comments(),
            "run.datasets": ["rude", "mean"],
            "run.seeds": [1, 2],
            "methods": {"shift": {"strength": [1.0, 2.0]}},
            "run.methods": ["shift"],
        }
    )
    assert [edit.edit for edit in found.edits] == [
        "-/shift/default/seed-",
        "-/shift/strength=2/seed-",
    ]
    assert found.inputs_of(found.edits[0]) == ["results/models/small/base/edit.json"]
    edit = "results/models/small/-/shift/default/seed-/edit.json"
    assert expected_protocols(found)[edit] == {"version": 3}


def given(count, **more):
    """Changes of a study that also merges fine-tunes made elsewhere, of which it has so many."""
    hub = [{"hub": f"owner/tune{i}", "revision": f"{i}" * 40} for i in range(count)]
    own = {"models.small": {"pretrain": {"texts": [comments()]}, "fine_tunes": hub}}
    merged = {"methods.merge_given": {"n": [1, count]}, "run.methods": ["merge", "merge_given"]}
    return own | merged | more


def test_given_fine_tunes_are_merged_once_whatever_the_data_sets_and_seeds():
    two = {"datasets.mean": comments(), "run.datasets": ["rude", "mean"], "run.seeds": [1, 2]}
    study_grid = grid(given(3, **two))
    edits = [edit for edit in study_grid.edits if edit.method == "merge_given"]
    assert [edit.edit for edit in edits] == [
        "-/merge_given/n=1/seed-",
        "-/merge_given/n=3/seed-",
    ]
    folder = "results/models/small/-/finetunes"
    base = "results/models/small/base/edit.json"
    metas = [f"{folder}/given{i}/meta.json" for i in range(3)]
    assert study_grid.inputs_of(edits[1]) == [base, *metas]
    assert study_grid.given_finetunes == [("small", 0), ("small", 1), ("small", 2)]
    assert set(metas) <= set(expected_protocols(study_grid))
    assert expected_protocols(study_grid)[metas[1]] == {
        "version": 1, "hub": "owner/tune1", "revision": "1" * 40, "path": None,
    }  # fmt: skip


def test_given_fine_tunes_are_no_fine_tunes_of_the_study_and_move_nothing():
    before, after = grid(), grid(given(3))
    assert after.shard_sets == before.shard_sets
    assert after.fine_tunes == before.fine_tunes
    assert expected_protocols(before).items() <= expected_protocols(after).items()
    assert all(
        "/-/" in path for path in set(expected_protocols(after)) - set(expected_protocols(before))
    )


def test_data_set_that_no_edit_uses_is_not_prepared():
    assert not any("/datasets/" in path for path in expected_protocols(grid(given(2) | ALONE)))


ALONE = {"run.methods": ["merge_given"]}


def test_scales_are_ascending_and_spelled_as_in_paths():
    found = grid({"run.scales": [2, 0.05, 1.0, 1.0e-5]})
    assert found.scales_of_edit("rude/merge/n=1/seed42") == ["1e-05", "0.05", "1", "2"]


def test_a_method_may_have_scales_of_its_own(shift):
    changes = {"methods.shift": None, "run.methods": ["merge", "shift"]}
    found = grid(changes | {"run.method_scales": {"shift": [50, 10.0]}})
    assert found.scales_of_stage("-/shift/default/seed-", "openings") == ["10", "50"]
    assert found.scales_of_stage("rude/merge/n=1/seed42", "openings") == ["0.5", "1"]
    assert found.scales_of_stage("base", "openings") == ["0"]


class Leaning(BaseModel, extra="forbid", strict=True):
    """Parameters of a method that is made from much."""

    prompts: str = Field("seeds", json_schema_extra=alias_of("prompts"))
    scorer: str = Field("oracle", json_schema_extra=alias_of("scorers"))


@pytest.fixture
def lean(monkeypatch):
    """A method that is made from another edit, and from what the base writes."""
    module = SimpleNamespace(
        KIND="fit",
        VERB="logits",
        VERSION=1,
        USES=("dataset", "seed"),
        Params=Leaning,
        inputs=lambda params, at: [
            at.edit("merge", {"n": 3}),
            at.samples(params.prompts),
            at.scores(params.prompts, params.scorer),
        ],
    )
    monkeypatch.setitem(METHODS, "lean", module)
    return {
        "prompts.seeds": prompts(part="validation"),
        "prompts.openings": prompts(part="test"),
        "scorers.oracle": {"train": {"texts": [comments()], "test": {"own": comments()}}},
        "methods.lean": None,
        "run.methods": ["lean"],
    }


def test_what_an_edit_is_made_from_is_built_and_expected_but_not_measured(lean):
    found = grid(lean)
    (edit,) = found.edits
    other = "results/models/small/rude/merge/n=3/seed42/edit.json"
    assert set(found.built) == {found.paths.edit.format(**vars(edit)), other}
    assert set(found.inputs_of(edit)) <= set(expected_protocols(found))
    assert other in expected_protocols(found)
    assert "results/data/prompts/seeds/prompts.json" in expected_protocols(found)
    assert "results/data/scorers/oracle/scorer.json" in expected_protocols(found)
    assert not any("merge" in path or "/seeds/" in path for path in found.results)
    assert len(found.fine_tunes) == 3
    assert found.find(SimpleNamespace(**vars(found.built[other]))).params.n == 3


def test_tensors_of_an_edit_are_its_own_or_those_it_is_made_from(lean):
    found = grid(lean)
    (edit,) = found.edits
    merged = found.built["results/models/small/rude/merge/n=3/seed42/edit.json"]
    delta = "results/models/small/rude/merge/n=3/seed42/delta.safetensors"
    assert found.tensors_of(merged) == [delta]
    assert len(found.tensors_read(merged)) == 3
    assert found.tensors_beside(edit) == []
    assert found.tensors_of(edit) == [delta]
    assert found.find(SimpleNamespace(model="small", edit=edit.edit)) is edit


def test_only_an_edit_with_a_vector_has_a_parameter_change(shift):
    found = grid({"methods.shift": None, "run.methods": ["merge", "shift"]})
    assert len(found.changes) == 2
    assert not any("shift" in path for path in found.changes)
    assert set(found.changes) <= set(found.results) & set(expected_protocols(found))


def test_unknown_aliases_of_a_methods_parameters_are_named(lean):
    found = refusal(lean | {"methods.lean": {"scorer": "orcle"}})
    assert found == "methods.lean.scorer: 'orcle' is not among scorers; did you mean 'oracle'?"


def test_edits_are_not_made_from_prompts_that_are_reported_on(lean):
    found = refusal(lean | {"methods.lean": {"prompts": "openings"}})
    assert found.startswith("run.sweep.prompts: 'openings' may share texts with 'openings'")


def test_scales_of_a_method_that_is_not_in_the_study_are_refused():
    found = refusal({"run.method_scales": {"mergee": [1.0]}})
    assert found.startswith("run.method_scales.mergee: no such method in run.methods")
    assert refusal({"run.method_scales": {"merge": [0.0]}}).startswith("run.method_scales.merge.0:")


def test_a_method_says_what_it_cannot_work_with(shift):
    shift.refusals = lambda params, config: [f"strength {params.strength:g} is no good"]
    found = refusal({"methods.shift": None, "run.methods": ["shift"]})
    assert found == "methods.shift: strength 1 is no good"


def test_a_recipe_that_a_method_trains_by_stands_in_its_protocol(shift):
    class Params(Strength):
        recipe: str = "default"

    shift.KIND, shift.Params, shift.RECIPE = "train", Params, "recipe"
    found = grid({"methods.shift": None, "run.methods": ["shift"]})
    (path,) = found.built
    assert expected_protocols(found)[path]["recipe"]["epochs"] == 1


def test_a_parameter_has_no_meaning_by_its_name(shift):
    class Params(Strength):
        n: int = 7
        recipe: str = "none of the catalogue"
        scorer: str = "none of the catalogue"
        without: int = 1

    shift.Params = Params
    found = grid({"methods.shift": None, "run.methods": ["shift"]})
    (edit,) = found.edits
    for meaning in (merged_shards, recipe_of, scorer_of, left_out):
        assert meaning("shift", edit.params) is None
    path = found.paths.edit.format(**vars(edit))
    assert expected_protocols(found)[path] == {"version": 3}


def test_a_parameter_has_the_meaning_that_its_method_declares(shift):
    class Params(Strength):
        tunes: int = 7
        trained_by: str = "default"

    shift.Params, shift.MERGES, shift.RECIPE = Params, "tunes", "trained_by"
    for params in (Params(), Params().model_dump()):
        assert merged_shards("shift", params) == 7
        assert recipe_of("shift", params) == "default"
        assert scorer_of("shift", params) is None


def test_base_is_measured_at_scale_zero_only():
    study_grid = grid()
    assert study_grid.scales_of_stage("base", "openings") == ["0"]
    assert study_grid.scales_of_stage("rude/merge/n=1/seed42", "openings") == ["0.5", "1"]


def test_measurements_of_an_edit_are_every_prompt_set_scorer_and_corpus():
    changes = {
        "prompts.more": prompts(generate={"seed": 1}),
        "scorers.second": {"detoxify": "unbiased"},
        "run.sweep": {
            "prompts": ["openings", "more"],
            "corpora": ["polite"],
            "scorers": ["judge", "second"],
        },
    }
    found = grid(changes).measurements("small", "base")
    assert [path.removeprefix("results/evals/small/base/") for path in found] == [
        "openings/toxicity-judge.json",
        "openings/toxicity-second.json",
        "more/toxicity-judge.json",
        "more/toxicity-second.json",
        "openings/fluency.json",
        "more/fluency.json",
        "polite/perplexity.json",
    ]


def test_results_are_the_measurements_of_edits_and_base_the_changes_the_costs_and_the_shards():
    found = grid().results
    assert len(found) == len(set(found)) == 3 * (2 + 1) + 2 + 2 + 1
    assert "results/evals/small/base/polite/perplexity.json" in found
    assert "results/evals/small/rude/merge/n=2/seed42/change.json" in found
    assert "results/evals/small/rude/merge/n=2/seed42/cost.json" in found
    assert not {f"results/evals/small/base/{name}.json" for name in ("change", "cost")} & {*found}
    assert "results/evals/small/rude/shards/default/n2/seed42/shards.json" in found


def test_costs_are_measured_once_and_no_other_measurement_is_among_them():
    study_grid = grid()
    assert study_grid.results == study_grid.measured + study_grid.costs
    assert not any(path.endswith("cost.json") for path in study_grid.measured)
    edit = study_grid.edits[0]
    assert not any(p.endswith("cost.json") for p in study_grid.measurements("small", edit.edit))


@pytest.mark.parametrize(
    ("scales", "wanted"), [([0.5, 1.0, 2.0], "1"), ([3.0, 1.5, 0.9], "1.5"), ([0.2, 0.7], "0.7")]
)
def test_cost_is_measured_at_the_smallest_scale_from_1_on_or_at_the_largest(scales, wanted):
    study_grid = grid({"run.scales": scales})
    edit = study_grid.edits[0].edit
    assert study_grid.cost_scale(edit) == wanted
    (protocol,) = {expected_protocols(study_grid)[path]["scale"] for path in study_grid.costs}
    assert protocol == wanted


def test_new_n_adds_its_own_results_and_moves_none():
    before, after = grid().results, grid({"methods.merge": {"n": [1, 2, 4]}}).results
    assert set(before) < set(after)
    assert all("/n=4/" in path or "/n4/" in path for path in set(after) - set(before))


def test_exports_are_manifests_with_a_protocol_and_no_measurements():
    names = [f"small/rude/merge/n=2/seed42/scale{scale}" for scale in ("0.5", "budget")]
    budget = {"selectors.budget": {"rule": "ppl-budget", "budget": 1.0}}
    budget |= {"run.selectors": ["budget"]}
    before, after = grid(budget), grid(budget | {"run.exports": names})
    assert exports_of(after) == [f"results/exports/{name}/export.json" for name in names]
    assert set(expected_protocols(after)) - set(expected_protocols(before)) == set(
        exports_of(after)
    )
    assert after.results == before.results
    edit, scale = find_export(after, names[1])
    assert (edit, scale) == (after.edits[1], "budget")


def test_inputs_of_an_edit_are_its_own_shards():
    study_grid = grid()
    edit = study_grid.edits[1]
    folder = "results/models/small/rude/shards/default/n2"
    assert study_grid.inputs_of(edit) == [
        f"{folder}/shard0/seed42/meta.json",
        f"{folder}/shard1/seed42/meta.json",
    ]


def test_fine_tunes_are_those_of_every_edit_once():
    changes = {"datasets.mean": comments(), "run.datasets": ["rude", "mean"], "run.seeds": [1, 2]}
    study_grid = grid(changes | {"methods.merge": {"n": [1, 3]}})
    found = study_grid.fine_tunes
    assert len(found) == len(set(found)) == 2 * 2 * (1 + 3)
    paths = {study_grid.paths.shard.format(**vars(one)) for one in found}
    assert paths == {path for edit in study_grid.edits for path in study_grid.inputs_of(edit)}
    assert {(one.n, one.shard) for one in found} == {(1, 0), (3, 0), (3, 1), (3, 2)}


def test_shard_sets_are_those_of_two_or_more_that_an_edit_takes_whole(monkeypatch):
    """One shard of a set asks for no statistics of it: the others need not be trained."""
    whole = grid({"methods.merge": {"n": [1, 2, 3]}, "run.seeds": [1, 2]}).shard_sets
    assert [(one.recipe, one.n, one.seed) for one in whole] == [
        ("default", 2, "1"), ("default", 2, "2"), ("default", 3, "1"), ("default", 3, "2"),
    ]  # fmt: skip
    first = lambda params, at: [at.shard(params.recipe, params.n, 0)]  # noqa: E731
    monkeypatch.setattr(METHODS["merge"], "inputs", first)
    part = grid({"methods.merge": {"n": [1, 2]}})
    assert [(one.n, one.shard) for one in part.fine_tunes] == [(1, 0), (2, 0)]
    assert part.shard_sets == []
    assert not any(
        path.endswith("shards.json") for path in [*part.results, *expected_protocols(part)]
    )


def test_find_gives_the_edit_behind_its_wildcards():
    study_grid = grid()
    for edit in study_grid.edits:
        assert study_grid.find(SimpleNamespace(**vars(edit))) is edit


def test_find_of_an_unknown_setting_names_the_known_ones():
    wildcards = SimpleNamespace(**vars(grid().edits[0]) | {"setting": "n=3"})
    with pytest.raises(UserError, match="merge has no setting 'n=3' for small"):
        grid().find(wildcards)


def test_every_result_and_its_sources_have_an_expected_protocol():
    study_grid = grid()
    expected = expected_protocols(study_grid)
    assert set(study_grid.results) <= set(expected)
    p = study_grid.paths
    for edit in study_grid.edits:
        assert set(study_grid.inputs_of(edit)) <= set(expected)
    at = {"model": "small", "edit": "base", "dataset": "rude", "scorer": "judge"}
    at |= {"prompts": "openings", "corpus": "polite"}
    for pattern in (p.dataset, p.prompts, p.corpus, p.scorer, p.pretrained, p.base, p.generations):
        assert pattern.format(**at) in expected
    assert {f"results/data/datasets/rude/partition-n{n}.json" for n in (1, 2)} <= set(expected)


def test_judge_of_another_model_is_fetched_and_not_measured():
    judge = {"models.judge": {"pretrain": {"texts": [comments()]}, "dtype": "bfloat16"}}
    before, after = grid(judge), grid(judge | {"run.fluency_judge": "judge"})
    more = set(expected_protocols(after)) - set(expected_protocols(before))
    assert more == {
        f"results/models/judge/{name}" for name in ("base/edit.json", "pretrained/model.json")
    }
    assert after.results == before.results
    assert after.protocol.fluency("small") == {"version": 2, "judge": "judge", "dtype": "bfloat16"}
    assert before.protocol.fluency("small") == {"version": 2, "judge": None, "dtype": "float32"}


def test_expected_protocols_are_plain_json_with_a_version():
    for path, protocol in expected_protocols(grid()).items():
        assert json.loads(json.dumps(protocol)) == protocol, path
        assert protocol["version"] >= 1, path


def test_base_model_from_elsewhere_has_no_pretrained_manifest(tmp_path):
    expected = expected_protocols(grid({"models.small": {"path": str(tmp_path)}}))
    assert not any("/pretrained/" in path for path in expected)
    assert expected["results/models/small/base/edit.json"]["path"] == str(tmp_path)


def test_methods_are_found_by_kind(shift):
    assert "shift" in of_kind("fit", "logits")
    assert "shift" not in of_kind("fit", "delta")
    assert "merge" in of_kind("merge")
    assert of_kind("train") == [] or "merge" not in of_kind("train")
