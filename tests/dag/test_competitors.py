"""Methods of every kind and verb through the whole workflow, and what adding one schedules."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dag.conftest import build
from dag.house import LIBRARY, REPORT, House, merged

pytestmark = pytest.mark.dag

HERE = Path(__file__).parent
MEASURED = dict.fromkeys(
    ("generate", "score_toxicity", "measure_fluency", "measure_perplexity", "measure_cost"), 1
)
VECTOR = {"parameter_change": 1}
# what a method's first edit needs in a study that has `merge` alone
OWN = {
    "gradient_ascent": {"train_edit": 1} | VECTOR,
    "ext_sub": {"train_edit": 1, "merge_edit": 1} | VECTOR,
    "dexperts": {"describe_edit": 1},
    "destein": {"fit_hooks": 1, "prepare_prompts": 1, "train_scorer": 1},
    "profs": {"fit_edit": 1} | VECTOR,
    "best_of_n": {"describe_edit": 1, "train_scorer": 1},
}

# a method of the kind `fit`, as a user would drop it into the folder
HUSHED = '''"""A bias against the last token of the vocabulary, whatever that is."""

from pydantic import BaseModel, Field

KIND = "fit"
VERB = "hooks"
LABEL = "a quiet layer"
REFERENCE = "nobody"
VERSION = 1
USES = ()


class Params(BaseModel, extra="forbid", strict=True):
    """One."""

    size: float = Field(0.1, description="of the vector")


def inputs(params, at):
    return [at.base()]


def build(inputs, params, job):
    import numpy as np

    from ...storage.artefacts import sha256
    from ...storage.writing import write_tensors

    file = job.out / "hooks.safetensors"
    with write_tensors(file, {"v": (16,)}) as writer:
        writer.write(np.full(16, params.size, np.float32))
    return {
        "rule": "add",
        "modules": {"transformer.h.0.attn": "v"},
        "tensors": {"file": file.name, "sha256": sha256(file), "l2_norm": 4 * params.size},
    }
'''


@pytest.fixture(scope="module")
def all_methods(tmp_path_factory):
    """The toy study with a method for every rule that builds edits, finished."""
    house = build(House, tmp_path_factory.mktemp("methods") / "house", HERE / "toy.yaml")
    more = yaml.safe_load((HERE / "methods.yaml").read_text())
    with house.config() as config:
        for key, value in merged(config, more).items():
            config[key] = value
    house.expected = house.planned()
    house.run()
    return house


def only(house, methods):
    """The study with these methods beside `merge`."""
    with house.config() as config:
        config["run"]["methods"] = ["merge", *methods]
        own = config["run"]["method_scales"]
        config["run"]["method_scales"] = {k: v for k, v in own.items() if k in methods}


def test_each_rule_builds_what_its_methods_ask_for(all_methods):
    built = {
        "merge_edit": 3,  # N = 1 and 4, ext_sub
        "train_edit": 2,  # gradient_ascent, and finetune_nontoxic for ext_sub
        "fit_edit": 1,
        "fit_hooks": 1,
        "describe_edit": 2,
    }
    assert {rule: all_methods.expected[rule] for rule in built} == built
    assert all_methods.expected["parameter_change"] == 5
    assert all_methods.expected["measure_cost"] == 8


def test_all_methods_stand_in_one_table_and_one_figure(all_methods):
    summary = pd.read_parquet(all_methods.results / "summary.parquet")
    methods = {"merge", *OWN}
    assert set(summary["method"]) == methods | {"base"}
    drawn = pd.read_csv(all_methods.results / "figures/trade_off-pico.csv")
    assert set(drawn["method"]) == methods | {"base"}
    table = pd.read_csv(all_methods.results / "tables/main.csv")
    assert set(table["method"]) == methods | {"base"}
    speed = table.loc[table["method"] != "base", "tokens_per_second_over_base"]
    assert (speed > 0).all()
    passes = table.set_index("method")["extra_forward_passes_per_token"]
    assert (passes["dexperts"], passes["destein"]) == (1, 0)


def test_edits_are_what_their_manifests_say(all_methods):
    found = {}
    for path in all_methods.results.glob("models/pico/*/*/*/seed*/edit.json"):
        edit = json.loads(path.read_text())
        assert {file.name for file in path.parent.glob("[!.]*")} == {path.name, *edit["files"]}
        found[edit["method"]] = edit["verb"]
    assert found["dexperts"] == "logits"
    assert found["destein"] == "hooks"
    assert found["best_of_n"] == "choose"
    assert found["finetune_nontoxic"] == "delta"
    assert all_methods.planned() == {}


@pytest.mark.parametrize("method", OWN)
def test_a_method_added_schedules_its_own_jobs_only(all_methods, tmp_path, method):
    """From a study of `merge` alone, by leaving this method's files out of a finished one."""
    house = all_methods.copy(tmp_path / "house")
    only(house, [])
    assert house.planned() == REPORT
    for folder in [house.results / "models/pico", house.results / "evals/pico"]:
        for kept in folder.glob("*/*"):
            if kept.name in {*OWN, "finetune_nontoxic", "seeds"}:
                shutil.rmtree(kept)
    for folder in (house.results / "data/prompts/seeds", house.results / "data/scorers/oracle"):
        shutil.rmtree(folder)
    only(house, [method])
    extra = {"generate": 1, "score_toxicity": 1} if method == "destein" else {}
    expected = OWN[method] | MEASURED | REPORT
    for rule, count in extra.items():  # of the base, on what pairs are made from
        expected[rule] += count
    assert house.planned() == expected


def test_a_file_dropped_into_the_folder_schedules_its_own_jobs(all_methods, tmp_path):
    house = all_methods.copy(tmp_path / "house")
    house.path(f"{LIBRARY}/edit/methods/hushed.py").write_text(HUSHED)
    assert house.planned() == {}  # a file that no config entry names
    with house.config() as config:
        config["methods"]["hushed"] = None
        config["run"]["methods"].append("hushed")
    assert house.planned() == {"fit_hooks": 1} | MEASURED | REPORT
    house.run()
    summary = pd.read_parquet(house.results / "summary.parquet")
    assert "hushed" in set(summary["method"])
    assert house.planned() == {}


def test_a_study_without_merged_edits_has_no_figures_over_n(all_methods, tmp_path):
    house = all_methods.copy(tmp_path / "house")
    with house.config() as config:
        config["run"]["methods"] = ["profs"]
        config["run"]["method_scales"] = {}
    gone = ("plot_toxicity", "plot_perplexity", "plot_parameter_change", "plot_almost_unchanged")
    gone += ("plot_training_loss", "plot_shard_subsets", "plot_shard_snr", "plot_shard_cosines")
    assert house.planned() == {rule: n for rule, n in REPORT.items() if rule not in gone}
    house.run()
