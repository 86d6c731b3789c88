"""Memory and minutes of the jobs, against what runs of known sizes used."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from plan.studies import comments, study

from detoxmerge.plan import resources
from detoxmerge.plan.load import load_config
from detoxmerge.plan.memory import finetune_mb, measure_mb, row_bytes, rows_planned
from detoxmerge.plan.resources import Need, Needs
from detoxmerge.plan.training import Recipe

MEASURED = Path(__file__).parents[2] / "benchmarks" / "resources.csv"
ROWS = list(csv.DictReader(MEASURED.read_text().splitlines()))


def needs(**changes: object) -> Needs:
    """Of the smallest study with some values replaced."""
    return Needs(load_config(study(changes)))


@pytest.fixture
def base(tmp_path: Path) -> str:
    """Manifest of a base model of 124 million weights."""
    path = tmp_path / "edit.json"
    path.write_text(json.dumps({"num_parameters_stored": 124_439_808, "model": {"hub": "gpt2"}}))
    return str(path)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """Manifest of 10,000 toxic texts."""
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"counts": {"num_toxic": 10_000}}))
    return str(path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['job']}-{row['model']}")
def test_what_was_measured_fits_and_is_not_wasted(row: dict[str, str]) -> None:
    weights, batch, tokens = int(row["num_weights"]), int(row["batch"]), int(row["tokens"])
    if row["job"] == "finetune":
        recipe = Recipe(batch_size=batch, max_tokens=tokens)
        asked = finetune_mb("cpu", weights, recipe, int(row["vocabulary"]))
    else:
        asked = measure_mb("cpu", weights, batch, tokens)
    used = float(row["max_rss_mb"]) + 250  # the two Snakemakes around it in a SLURM job
    assert used < asked
    assert asked < max(3 * used, used + 1000)


def test_auto_takes_its_budget_or_a_single_row() -> None:
    alone, weights = measure_mb("cpu", 10**8, 0, 100), 10**8
    assert measure_mb("cpu", weights, "auto", 100) == pytest.approx(alone + 1000)
    window = row_bytes(weights, 10_000, 10_000)
    assert window > 1e9
    assert measure_mb("cpu", weights, "auto", 10_000, 10_000) == pytest.approx(alone + window / 1e6)
    assert measure_mb("cpu", weights, 3, 100) < measure_mb("cpu", weights, 4, 100)
    assert measure_mb("cuda", weights, "auto", 10_000, 10_000) == 4000 + 800 + 500


def test_the_rows_of_auto_are_planned_by_its_budget() -> None:
    assert rows_planned(7, 10**8, 100, 12) == 7
    assert rows_planned("auto", 10**5, 100, 12) == 128
    assert rows_planned("auto", 10**10, 100, 12) == 8  # of 122.6 MB
    assert rows_planned("auto", 10**10, 10_000, 12) == 1


def test_perplexity_holds_the_logits_of_its_windows(tmp_path: Path, base: str) -> None:
    """Of 8 windows of 1,024 positions and, at the most, 262,144 tokens in fp32."""
    corpus = tmp_path / "corpus.json"
    corpus.write_text(json.dumps({"counts": {"num_characters": 30_000_000}}))
    given, at = SimpleNamespace(base=base, corpus=str(corpus)), {"model": "small", "edit": "base"}
    window = {"device": "cpu", "corpora.polite.window_tokens": 1024}
    window["models.small.pretrain.context"] = 1024

    def asked(**more: object) -> int:
        study_needs = needs(**window, **more)
        return study_needs.measure_perplexity(SimpleNamespace(corpus="polite", **at), given).mem_mb

    logits = 4 * 1024 * 262_144 / 1e6
    one, eight = (asked(**{"corpora.polite.batch_size": n}) for n in (1, 8))
    assert one > 1500 + 8 * 124.4 + logits
    assert eight - one > 7 * logits
    assert asked() == one  # a window takes more than the budget


def test_helpers_batches_take_memory_too(tmp_path: Path, base: str) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"counts": {"num_prompts": 1000}}))
    given = SimpleNamespace(base=base, prompts=str(prompts))
    more = {"methods.preadd": None, "run.methods": ["merge", "preadd"]}
    found = needs(device="cpu", **more)
    plain, prefixed = (
        found.generate(SimpleNamespace(model="small", prompts="openings", edit=edit.edit), given)
        for edit in (found.grid.edits[0], found.grid.edits[-1])
    )
    assert prefixed.mem_mb - plain.mem_mb == 1000  # the budget, again


def test_more_with_each_attempt(base: str, dataset: str) -> None:
    found = needs(device="cuda")
    at = SimpleNamespace(recipe="default", n="2")
    given = SimpleNamespace(base=base, dataset=dataset)
    need = found.finetune_shard(at, given)
    assert found.mem_mb("finetune_shard")(at, given, 3) == 3 * need.mem_mb
    assert found.runtime("finetune_shard")(at, given, 2) == 2 * need.runtime


def test_a_fine_tune_takes_as_long_as_its_shard_is_large(base: str, dataset: str) -> None:
    found = needs(**{"device": "cuda", "recipes.default.epochs": 100})
    given = SimpleNamespace(base=base, dataset=dataset)
    minutes = [
        found.finetune_shard(SimpleNamespace(recipe="default", n=n), given).runtime - 15
        for n in ("1", "10")
    ]
    # 6 FLOP * P * 10,000 texts * 128 tokens * 100 epochs / 1e13 per second, twice
    assert minutes[0] == pytest.approx(2 * 6 * 124.4e6 * 1.28e8 / 1e13 / 60, rel=0.01)
    assert minutes[1] == pytest.approx(minutes[0] / 10, abs=1)


def test_a_host_with_a_gpu_needs_less(base: str, dataset: str) -> None:
    at = SimpleNamespace(recipe="default", n="1")
    given = SimpleNamespace(base=base, dataset=dataset)
    assert needs(device="cuda").finetune_shard(at, given).mem_mb == 5500  # 4000 + 12 P
    assert needs(device="cpu").finetune_shard(at, given).mem_mb > 6000


def test_an_export_fits_three_models_in_fp32(base: str) -> None:
    need = needs(device="cuda").export_model(None, SimpleNamespace(base=base))
    assert need.mem_mb == 3000  # 1500 + 12 P, no GPU
    assert 15 < need.runtime < 30


def test_merging_needs_no_more_for_a_larger_model(tmp_path: Path, base: str) -> None:
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"num_parameters_stored": 7_000_000_000, "model": {}}))
    found = needs(**{"methods.merge": {"n": 10, "operator": ["mean", "ties"]}})
    at = {"model": "small", "dataset": "rude", "method": "merge", "seed": "42", "setting": "n=10"}

    def need(base: str, **other: str) -> Need:
        given = SimpleNamespace(base=base, manifests=["a"] * 10)
        return found.merge_edit(SimpleNamespace(**at | other), given)

    small, big = need(base), need(str(large))
    assert small.mem_mb == big.mem_mb == 2000
    assert big.runtime > 60 > small.runtime
    thrice = need(str(large), setting="n=10--operator=ties")  # reads the shards three times
    assert thrice.mem_mb == 2000
    assert (thrice.runtime - 15) / (big.runtime - 15) == pytest.approx(31 / 11, rel=0.01)


def test_a_merge_of_adapters_holds_their_factors(base: str, tmp_path: Path) -> None:
    hub = [{"hub": f"a/b{i}", "revision": "0" * 40} for i in range(2)]
    model = study()["models"]["small"] | {"fine_tunes": hub}
    changes = {"results": str(tmp_path), "models.small": model}
    merged = {"methods.merge_given": {"n": 2}, "run.methods": ["merge_given"]}
    found = needs(**changes | merged)
    (edit,) = found.grid.edits
    _, *manifests = found.grid.inputs_of(edit)
    for path, kind in zip(manifests, ("model", "adapter"), strict=True):
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text(json.dumps({"kind": kind, "num_elements": 50_000_000}))
    need = found.merge_edit(edit, SimpleNamespace(base=base, manifests=[base, *manifests]))
    assert need.mem_mb == 2400


def test_shard_statistics_take_longer_with_more_shards_and_no_more_memory(base: str) -> None:
    asked = [
        needs().shard_statistics(None, SimpleNamespace(base=base, manifests=["a"] * n))
        for n in (2, 10, 20)
    ]
    assert [need.mem_mb for need in asked] == [2000] * 3
    seconds = [30 * (need.runtime - 15) for need in asked]
    # 124.4 million weights: 8 bytes of each shard at 1e8 a second; subsets, as measured
    assert seconds[1] == pytest.approx(124.4 * (0.08 * 10 + 0.4 + 0.6), abs=30)
    assert seconds[2] == pytest.approx(124.4 * (0.08 * 20 + 0.8 + 2.4), abs=30)


def test_parameter_change_takes_longer_with_a_larger_vector(tmp_path: Path) -> None:
    vector = tmp_path / "delta.safetensors"
    with open(vector, "wb") as file:
        file.truncate(6_000_000_000)  # sparse
    asked = needs().parameter_change(None, SimpleNamespace(tensors=[str(vector)]))
    assert asked == Need(2000, 15 + 2 * 2 * 60 // 60)


def test_a_file_that_is_yet_to_come_is_said_in_snakemakes_way(tmp_path: Path) -> None:
    missing = str(tmp_path / "edit.json")
    with pytest.raises(FileNotFoundError) as found:
        needs().generate(
            SimpleNamespace(prompts="openings", edit="base"), SimpleNamespace(base=missing)
        )
    assert found.value.filename == missing


def test_more_scales_take_longer(tmp_path: Path, base: str) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"counts": {"num_prompts": 1000}}))
    given = SimpleNamespace(base=base, prompts=str(prompts))
    at = {"model": "small", "prompts": "openings"}
    found = needs(device="cuda")
    one = found.generate(SimpleNamespace(edit="base", **at), given).runtime
    two = found.generate(SimpleNamespace(edit="rude/merge/n=1/seed42", **at), given).runtime
    assert two > one
    assert (
        needs(device="cuda").score_toxicity(SimpleNamespace(edit="base", **at), None).mem_mb == 7000
    )


def test_candidates_take_longer_and_their_scorer_memory(tmp_path: Path, base: str) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"counts": {"num_prompts": 1000}}))
    given = SimpleNamespace(base=base, prompts=str(prompts))
    oracle = {"train": {"texts": [comments()], "test": {"own": comments()}, "epochs": 7}}
    more = {"scorers.oracle": oracle, "methods.best_of_n": {"scorer": "oracle"}}
    more |= {"run.methods": ["merge", "best_of_n"], "run.scales": [1.0, 3.0]}
    found = needs(device="cuda", **more)
    asked = [
        found.generate(SimpleNamespace(model="small", prompts="openings", edit=edit.edit), given)
        for edit in (found.grid.edits[0], found.grid.edits[-1])
    ]
    assert asked[1].mem_mb - asked[0].mem_mb == 3000
    load = 2 * 4 * 124.4e6 / 1e8 / 60
    minutes = [need.runtime - 15 - load for need in asked]
    assert minutes[1] / minutes[0] == pytest.approx((2 + 8) / 2, rel=0.05)


def test_helper_models_take_time_and_memory(tmp_path: Path, base: str) -> None:
    corpus = tmp_path / "corpus.json"
    corpus.write_text(json.dumps({"counts": {"num_characters": 30_000_000}}))
    given = SimpleNamespace(base=base, corpus=str(corpus))
    more = {"methods.dexperts": {"expert": ["base", "nontoxic"]}, "methods.preadd": None}
    found = needs(device="cuda", **more, **{"run.methods": ["merge", "dexperts", "preadd"]})
    plain, anti, both, prefixed = (
        found.measure_perplexity(
            SimpleNamespace(model="small", corpus="polite", edit=edit.edit), given
        )
        for edit in [found.grid.edits[0], *found.grid.edits[-3:]]
    )
    assert anti.mem_mb - plain.mem_mb == pytest.approx(4 * 124.4, abs=100)
    assert both.mem_mb - plain.mem_mb == pytest.approx(8 * 124.4, abs=100)
    assert prefixed.mem_mb == plain.mem_mb
    load = 2 * 4 * 124.4e6 / 1e8 / 60
    minutes = [need.runtime - 15 - load for need in (plain, anti, both, prefixed)]
    assert np.array(minutes) / minutes[0] == pytest.approx([1, 2, 3, 2], rel=0.1)


def test_cost_is_a_few_prompts_of_the_edit_and_of_the_base(base: str) -> None:
    at = SimpleNamespace(model="small", edit="rude/merge/n=1/seed42")
    need = needs(device="cuda").measure_cost(at, SimpleNamespace(base=base))
    # 4 batches of 20 tokens, six times, by both, of 0.05 s and more
    assert 15 + 2 * 4 * 20 * 6 * 2 * 0.05 / 60 < need.runtime < 25


def test_fluency_costs_what_its_judge_costs(tmp_path: Path, base: str) -> None:
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"num_parameters_stored": 7_000_000_000, "model": {}}))
    at = SimpleNamespace(edit="rude/merge/n=1/seed42", prompts="openings")
    source = {"kind": "prompts", "rows": 50_000, "seed": 1}
    found = needs(**{"device": "cuda", "prompts.openings.generated": source})
    small, big = (
        found.measure_fluency(at, SimpleNamespace(judge=judge)) for judge in (base, str(large))
    )
    assert small.mem_mb < 6000  # 4000 + 8 P + 500
    assert big.mem_mb == 60_500
    # 2 FLOP * P * 50,000 prompts * 25 * (64 + 20) tokens * 2 scales / 1e13, and 4 P / 1e8, twice
    seconds = 2 * 7e9 * 2.5e6 * 84 / 1e13 + 4 * 7e9 / 1e8
    assert big.runtime - 15 == pytest.approx(2 * seconds / 60, rel=0.01)


def test_the_vocabulary_is_that_of_the_bases_folder(tmp_path: Path, base: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"vocab_size": 1234}}))
    local = tmp_path / "local.json"
    local.write_text(json.dumps({"model": {"path": str(tmp_path)}}))
    assert resources.vocabulary(str(local)) == 1234
    assert resources.vocabulary(base) == 262_144
