"""What one change to a finished study costs: jobs planned, and units of work really done.

Each test gets a copy of a finished toy study, changes one thing, and counts. A job may be planned
and still measure nothing; so the tests that run the workflow count what was measured, too.
"""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from dag.conftest import write_given
from dag.house import LIBRARY, REPORT, environment
from safetensors.numpy import load_file

from detoxmerge.plan.protocol import VERSION

pytestmark = pytest.mark.dag

PROTOCOL = f"{LIBRARY}/plan/protocol.py"
MERGE = f"{LIBRARY}/edit/methods/merge.py"
STATISTICS = {"shard_statistics": 1}  # of the shards of N = 4; N = 1 has none
STAGES = ("generate", "score_toxicity", "measure_fluency", "measure_perplexity")
EDITS = [f"comments/merge/n={n}--recipe=toy/seed42" for n in (1, 4)]
SHARDS = "models/pico/comments/shards/toy"

# a method of the kind `merge`, as a user would drop it into the folder
NEGATED_SINGLE = '''"""The first of the shards' vectors alone, negated."""

from pydantic import BaseModel

KIND = "merge"
VERB = "delta"
LABEL = "one shard"
REFERENCE = "Ilharco et al., ICLR 2023"
VERSION = 1
USES = ("dataset", "seed")


class Params(BaseModel, extra="forbid", strict=True):
    recipe: str = "default"


def inputs(params, at):
    return [at.shard(params.recipe, 4, 0)]


def build(inputs, params, job):
    from ...merge.merging import merge_deltas

    deltas = [path.with_name("delta.safetensors") for path in inputs]
    return {
        "sign": -1,
        "tensors": merge_deltas(deltas, "mean", job.out / "delta.safetensors"),
    }
'''


def measures(count):
    """A job of each measuring stage, so many times."""
    return dict.fromkeys(STAGES, count)


def edits(count):
    """What a new edit costs besides training, so many times, and the report."""
    own = ("merge_edit", "parameter_change", "measure_cost")
    return dict.fromkeys(own, count) | measures(count) | REPORT


def summary(house):
    return pd.read_parquet(house.results / "summary.parquet")


def refusal(done):
    """The sentence of a Snakemake run that ended by a user's error; it shows no traceback."""
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def test_nothing_changed(house):
    assert house.planned() == {}


def test_scale_added_measures_it_once_per_edit_and_set(house):
    before, logs = summary(house), house.logs()
    with house.config() as config:
        config["run"]["scales"] = [0.5, 0.75, 1.0]

    assert house.planned() == measures(2) | REPORT
    house.run()

    expected = {(edit, stem): (1, 3) for edit in EDITS for stem in stems()}
    assert house.measured(logs) == expected  # and so nothing of the base
    after = summary(house)
    assert set(after["scale"]) == {0.0, 0.5, 0.75, 1.0}
    old = after[after["scale"] != 0.75].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, before)
    assert house.planned() == {}


def test_scale_dropped_measures_nothing(house):
    logs = house.logs()
    with house.config() as config:
        config["run"]["scales"] = [1.0]

    assert house.planned() == measures(2) | REPORT
    house.run()

    assert house.measured(logs) == {(edit, stem): (0, 1) for edit in EDITS for stem in stems()}
    # the record of the dropped scale stays for the day it comes back, and reaches no table
    assert len(list(house.results.glob("evals/**/perplexity-scale0.5.json"))) == 2
    assert set(summary(house)["scale"]) == {0.0, 1.0}
    assert "| 0.5 |" not in (house.results / "tables/main.md").read_text()
    assert set(pd.read_csv(house.results / "figures/perplexity-pico.csv")["scale"]) == {0.0, 1.0}


def stems():
    """The manifests of a measured edit."""
    return "generations", "toxicity-tiny", "fluency", "perplexity"


def test_split_count_added(house):
    with house.config() as config:
        config["methods"]["merge"]["n"] = [1, 4, 8]
    assert house.planned() == {"split_dataset": 1, "finetune_shard": 8} | STATISTICS | edits(1)


def test_seed_added(house):
    with house.config() as config:
        config["run"]["seeds"] = [42, 43]
    assert house.planned() == {"finetune_shard": 1 + 4} | STATISTICS | edits(2)


def test_model_added(house):
    shutil.copytree(house.path("models/pico"), house.path("models/other"))
    with house.config() as config:
        config["models"]["other"] = {"path": "models/other"}
        config["run"]["models"] = ["pico", "other"]

    new = (
        {"fetch_model": 1, "finetune_shard": 1 + 4} | STATISTICS | edits(2) | measures(3)
    )  # 3: its base, too
    plots = {rule: 2 for rule in REPORT if rule.startswith("plot_")}
    assert house.planned() == new | plots


def test_dataset_added(house):
    shutil.copy(house.path("raw/comments.jsonl"), house.path("raw/other.jsonl"))
    with house.config() as config:
        config["datasets"]["other"] = {"path": "raw/other.jsonl"}
        config["run"]["datasets"] = ["comments", "other"]

    new = {"prepare_dataset": 1, "split_dataset": 2, "finetune_shard": 1 + 4}
    assert house.planned() == new | STATISTICS | edits(2)


def test_method_added_then_dropped(house):
    house.path(f"{LIBRARY}/edit/methods/negated_single.py").write_text(NEGATED_SINGLE)
    assert house.planned() == {}  # a file that no config entry names

    with house.config() as config:
        config["methods"]["negated_single"] = {"recipe": "toy"}
        config["run"]["methods"] = ["merge", "negated_single"]
    assert house.planned() == edits(1)

    logs = house.logs()
    house.run()
    edit = "comments/negated_single/recipe=toy/seed42"
    assert house.measured(logs) == {(edit, stem): (2, 2) for stem in stems()}
    assert set(summary(house)["method"]) == {"base", "merge", "negated_single"}

    with house.config() as config:
        config["run"]["methods"] = ["merge"]
    assert house.planned() == REPORT


def test_operators_added_merge_the_same_fine_tunes(house):
    edit = house.results / "models/pico" / EDITS[1] / "edit.json"
    before = edit.read_bytes()
    with house.config() as config:
        config["methods"]["merge"] = [
            {"n": [1, 4], "recipe": "toy"},
            {"n": 4, "operator": ["ties", "weighted"], "recipe": "toy", "exclude": "wpe"},
        ]
    assert house.planned() == edits(2)

    house.run("--until", "merge_edit")
    for operator in ("ties", "weighted"):
        setting = f"n=4--operator={operator}--exclude=wpe--recipe=toy"
        made = house.results / f"models/pico/comments/merge/{setting}/seed42/edit.json"
        found = json.loads(made.read_text())
        assert found["params"]["operator"] == operator
        assert found["tensors"]["excluded"] == ["transformer.wpe.weight"]
    assert edit.read_bytes() == before

    house.replace(f"{LIBRARY}/merge/operators/ties.py", "VERSION = 1", "VERSION = 2")
    assert house.planned("--until", "merge_edit") == {"merge_edit": 1}


def test_given_fine_tunes_added(house):
    write_given(house)
    with house.config() as config:
        config["models"]["pico"]["fine_tunes"] = ["given/0", "given/1"]
    assert house.planned() == {}
    with house.config() as config:
        config["methods"]["merge_given"] = {"n": [1, 2]}
        config["run"]["methods"] = ["merge", "merge_given"]
    assert house.planned() == {"fetch_finetune": 2} | edits(2)


def test_given_fine_tunes_stand_beside_the_studys_own(everything):
    of = "models/pico/-/merge_given/n={}/seed-/delta.safetensors"
    first = load_file(everything.path("given/0/model.safetensors"))
    before = load_file(everything.path("models/pico/model.safetensors"))
    for name, tensor in load_file(everything.results / of.format(1)).items():
        assert np.array_equal(tensor, first[name] - before[name])
    headline = pd.read_csv(everything.results / "tables/headline.csv")
    assert list(headline["dataset"]) == ["comments", "-"]
    main = pd.read_csv(everything.results / "tables/main.csv")
    assert set(main["dataset"].dropna()) == {"comments", "-"}
    seeds = pd.read_csv(everything.results / "tables/seeds.csv")
    assert set(seeds["method"]) >= {"merge_given"}
    assert not list(everything.results.glob("models/pico/-/shards/**/*.safetensors"))


def test_given_fine_tune_more_or_another_one(everything, tmp_path):
    """Only what is made from it is made."""
    house = everything.copy(tmp_path / "house")
    new = {"fetch_finetune": 1, "select_scale": 1} | edits(1)
    given = house.path("given/1/model.safetensors")
    shutil.copytree(given.parent, house.path("given/2"))
    with house.config() as config:
        config["models"]["pico"]["fine_tunes"].append("given/2")
        config["methods"]["merge_given"]["n"] = [1, 2, 3]
    assert house.planned() == new
    with house.config() as config:
        config["methods"]["merge_given"]["n"] = [1, 2]
    shutil.copy(house.path("given/0/model.safetensors"), given)
    assert house.planned() == new


def test_split_count_dropped(house):
    with house.config() as config:
        config["methods"]["merge"]["n"] = [4]
    assert house.planned() == REPORT


def test_export_added_then_dropped(house):
    """Named in the config or by its path, it reruns nothing else."""
    name = f"pico/{EDITS[1]}/scale0.5"
    path = f"results/toy/exports/{name}/export.json"
    assert house.planned("--", path) == {"export_model": 1}
    with house.config() as config:
        config["run"]["exports"] = [name]
    assert house.planned() == {"export_model": 1}
    house.run()

    assert house.planned() == {}
    assert house.path(path).with_name("model.safetensors").is_file()
    with house.config() as config:
        del config["run"]["exports"]
    assert house.planned() == {}


def test_export_at_the_scale_of_a_selector(house):
    """The choice is read when the job runs; another one makes the folder anew."""
    path = f"results/toy/exports/pico/{EDITS[1]}/scalechosen/export.json"
    assert "has no scale or selector 'chosen'" in refusal(house.snakemake("-n", "--", path))

    def chosen(rule):
        with house.config() as config:
            config["selectors"] = {"chosen": rule}
            config["run"]["selectors"] = ["chosen"]

    chosen({"rule": "fixed", "scale": 0.5})
    assert house.planned("--", path) == {"select_scale": 1, "export_model": 1}
    house.run("--", path)
    assert json.loads(house.path(path).read_text())["scale"] == "0.5"
    assert house.planned("--", path) == {}

    chosen({"rule": "ppl-budget", "budget": 1.0e-9})
    assert house.planned("--", path) == {"select_scale": 1, "export_model": 1}
    said = refusal(house.snakemake("--cores", "1", "--", path))
    assert "export_model: the rule 'chosen' found no scale" in said


@pytest.fixture(scope="module")
def two_stages(finished, tmp_path_factory):
    """The toy study with a final stage at scale 0.5, finished; nobody may change it."""
    house = finished.copy(tmp_path_factory.mktemp("stages") / "house")
    with house.config() as config:
        for kind, first, second in (
            ("prompts", "openings", "unseen"),
            ("corpora", "polite", "other"),
        ):
            entry = config[kind][first]
            entry["generated"]["rows"] = 60
            config[kind][second] = entry | {"part": "test"}
            entry["part"] = "validation"
        config["selectors"] = {"chosen": {"rule": "fixed", "scale": 0.5}}
        config["run"]["selectors"] = ["chosen"]
        config["run"]["final"] = {"prompts": ["unseen"], "corpora": ["other"], "scorers": ["tiny"]}
    house.run()
    return house


def test_texts_of_the_two_stages_are_disjoint(two_stages):
    prompts = [
        {json.loads(line)["text"] for line in file.read_text().splitlines()}
        for file in sorted(two_stages.results.glob("data/prompts/*/prompts.jsonl"))
    ]
    texts = [
        set(file.read_text().split("\n\n"))
        for file in sorted(two_stages.results.glob("data/corpora/*/corpus.txt"))
    ]
    for first, second in (prompts, texts):
        assert first
        assert second
        assert not first & second


def test_only_the_chosen_scale_is_measured_on_test_texts(two_stages):
    found = summary(two_stages)
    edits = found[(found["method"] == "merge") & found["measured_on"].isin(["unseen", "other"])]
    assert set(edits["scale"]) == {0.5}
    assert set(edits["stage"]) == {"final"}
    assert two_stages.planned() == {}


def test_scale_added_measures_no_final_anew_and_another_choice_does(two_stages, tmp_path):
    house = two_stages.copy(tmp_path / "house")
    logs = house.logs()
    with house.config() as config:
        config["run"]["scales"] = [0.5, 0.75, 1.0]
    house.run()
    found = house.measured(logs)
    assert all(done == 1 for (_, stem), (done, of) in found.items() if of == 3), found
    assert all(done == 0 for (_, stem), (done, of) in found.items() if of == 1), found

    logs = house.logs()
    with house.config() as config:
        config["selectors"]["chosen"]["scale"] = 1.0
    house.run()
    assert set(house.measured(logs).values()) == {(1, 1)}


def test_learning_rate_changed(house):
    with house.config() as config:
        config["recipes"]["toy"]["learning_rate"] = 2.0e-3
    assert house.planned() == {"finetune_shard": 1 + 4} | STATISTICS | edits(2)


def test_batch_size_of_a_measurement_changed(house):
    """Decides on speed alone."""
    with house.config() as config:
        config["prompts"]["openings"]["generate"]["batch_size"] = 3
        config["corpora"]["polite"]["batch_size"] = 3
        config["scorers"]["tiny"]["batch_size"] = 3
        config["recipes"]["toy"]["checkpoint_minutes"] = 1.0
    assert house.planned() == {}


def test_sampling_changed(house):
    """Not the prompts, which stay as they are, nor perplexity."""
    with house.config() as config:
        config["prompts"]["openings"]["generate"]["top_p"] = 0.5
    new = {"generate": 3, "score_toxicity": 3, "measure_fluency": 3, "measure_cost": 2}
    assert house.planned() == new | REPORT


def test_sampling_changed_on_a_cluster(house, tmp_path, monkeypatch):
    """One submission per edit, for one GPU: scorer and judge take turns on it.

    SLURM is stood in for by a `sbatch` that keeps what it is asked, and takes no job.
    """
    asked, commands = tmp_path / "asked", tmp_path / "bin"
    commands.mkdir()
    for name in ("sbatch", "squeue", "sinfo", "sacct", "sacctmgr", "scontrol"):
        (commands / name).write_text("#!/bin/sh\n")
        (commands / name).chmod(0o755)
    with open(commands / "sbatch", "a") as sbatch:
        sbatch.write(f'case "$*" in *--test-only*) ;; *) echo "$*" >> {asked}; exit 1;; esac\n')
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    with house.config() as config:
        config["device"] = "cuda"
        config["prompts"]["openings"]["generate"]["top_p"] = 0.5
    again = house.planned()

    # with cores for two at a time, as a login node has
    done = house.snakemake("--profile", "slurm", "--retries", "0", "--cores", "64")
    assert done.returncode != 0, done.stdout
    requests = asked.read_text().splitlines()
    together = "rule_measure_generate_measure_fluency_score_toxicity"
    assert sum(together in request for request in requests) == 1 + len(EDITS)
    assert sum("rule_measure_cost" in request for request in requests) == len(EDITS)
    assert len(requests) == 1 + 2 * len(EDITS)
    assert house.planned() == again  # what was refused is still to be done
    assert all(" --gpus=1 " in request for request in requests)


def test_change_that_failed_is_tried_again(house):
    """Not forgotten: Snakemake keeps the new parameters as those of the old results behind it."""
    whole = house.path(f"{LIBRARY}/train/finetune.py").read_text()
    house.replace(f"{LIBRARY}/train/finetune.py", "def finetune_shard(", "def gone(")
    with house.config() as config:
        config["recipes"]["toy"]["learning_rate"] = 2.0e-3
    wanted = house.planned()
    assert wanted["finetune_shard"] == 5
    done = house.snakemake("--cores", "2", "--keep-going")
    assert done.returncode != 0
    house.path(f"{LIBRARY}/train/finetune.py").write_text(whole)
    assert house.planned() == wanted


def test_comment_edited_in_the_library(house):
    for name in ("train/finetune.py", "merge/merging.py", "plan/grid.py", "storage/records.py"):
        file = house.path(f"{LIBRARY}/{name}")
        file.write_text(file.read_text() + "\n# a remark\n")
    assert house.planned() == {}


def test_scripts_touched_as_a_checkout_does(house):
    for script in house.path("workflow/scripts").glob("*.py"):
        script.write_text(script.read_text() + "\n# a remark\n")
    for rules in house.path("workflow/rules").glob("*.smk"):
        os.utime(rules)
    assert house.planned() == {}


@pytest.mark.parametrize("target", [[], ["--", "results/toy/models/pico/base/edit.json"]])
def test_code_trigger_is_refused(house, target):
    """For every target, and although nothing would run."""
    done = house.snakemake("--dry-run", "--rerun-triggers", "code", "mtime", *target)
    assert "The rerun trigger 'code' would train again" in refusal(done)
    assert "Job stats" not in done.stdout


def test_version_of_a_stage_bumped(house):
    now = VERSION["measure_perplexity"]
    house.replace(PROTOCOL, f'"measure_perplexity": {now}', f'"measure_perplexity": {now + 1}')
    assert house.planned() == {"measure_perplexity": 3} | REPORT


def test_version_of_a_method_bumped(house):
    house.replace(MERGE, "VERSION = 1", "VERSION = 2")
    assert house.planned() == edits(2)


def test_parameter_with_a_default_added(house):
    house.replace(
        MERGE,
        "    lines_alpha: float | None = Field(",
        "    drop: float = Field(0.0, ge=0, lt=1)\n    lines_alpha: float | None = Field(",
    )
    assert house.planned() == {}


def test_records_of_snakemake_lost(house):
    """Without .snakemake only dates are left to compare, and they are in order."""
    shutil.rmtree(house.path(".snakemake"))
    assert house.planned() == {}


def test_records_lost_then_learning_rate_changed(house):
    """Snakemake cannot see it, and plans nothing; `summarise` can, and makes no table of it."""
    shutil.rmtree(house.path(".snakemake"))
    with house.config() as config:
        config["recipes"]["toy"]["learning_rate"] = 2.0e-3
    assert house.planned() == {}

    said = refusal(house.snakemake("--cores", "1", "--forcerun", "summarise"))
    meta = f"results/toy/{SHARDS}/n1/shard0/seed42/meta.json"
    assert f"summarise: {meta} was made with learning_rate = 0.001" in said
    assert "the config says 0.002; delete it (or restore the config) and run again" in said

    # what the sentence advises works, for all shards at once
    shutil.rmtree(house.results / SHARDS)
    new = {"finetune_shard": 1 + 4} | STATISTICS | edits(2)
    assert house.planned("--forcerun", "merge_edit") == new


def test_delta_deleted_and_its_merge_forced(house):
    (house.results / SHARDS / "n4/shard2/seed42/delta.safetensors").unlink()
    assert house.planned() == {}  # nothing asks for it
    new = {"finetune_shard": 1} | STATISTICS | edits(2)
    assert house.planned("--forcerun", "merge_edit") == new


def test_times_that_are_lost_train_nothing_again(house):
    """A time that changed makes the summary anew, and what is made from it; nothing is measured."""
    shutil.rmtree(house.results / "benchmarks")
    assert house.planned() == {}
    cost = house.results / "evals/pico" / EDITS[0] / "cost.json"
    content = json.loads(cost.read_text())
    cost.write_text(json.dumps(content | {"tokens_per_second": 1.0, "training_seconds": None}))
    assert house.planned() == REPORT


def test_model_renamed_with_its_folders(house):
    """Nothing is trained or measured again. But manifests name what they were made from, so the
    measurements under the new name are refused rather than tabulated.
    """
    for kind in ("models", "evals"):
        (house.results / kind / "pico").rename(house.results / kind / "renamed")
    with house.config() as config:
        config["models"] = {"renamed": {"path": "models/pico"}}
        config["run"]["models"] = ["renamed"]
    assert house.planned() == REPORT

    said = refusal(house.snakemake("--cores", "1", "--until", "summarise"))
    assert "was made from results/toy/evals/pico/base/openings/generations.json, which is" in said
    assert "undo the renaming" in said


def test_model_renamed_without_its_folders(house):
    with house.config() as config:
        config["models"] = {"renamed": {"path": "models/pico"}}
        config["run"]["models"] = ["renamed"]
    new = {"fetch_model": 1, "finetune_shard": 1 + 4} | STATISTICS | edits(2) | measures(3)
    assert house.planned() == new


def test_run_that_stopped_after_the_merge(house):
    """Their new manifests differ by the VERSION alone, the vectors are the same bytes."""
    found = house.results / "models/pico" / EDITS[1] / "delta.safetensors"
    before = found.read_bytes()
    house.replace(MERGE, "VERSION = 1", "VERSION = 2")
    house.run("--until", "merge_edit")

    assert found.read_bytes() == before
    still = edits(2)
    del still["merge_edit"]
    assert house.planned() == still


def test_large_raw_file_touched(house):
    raw = house.path("raw/comments.jsonl")
    assert raw.stat().st_size > 1_000_000  # above it, Snakemake's own default compares dates
    os.utime(raw)
    assert house.planned() == {}


def test_large_raw_file_changed(house):
    raw = house.path("raw/comments.jsonl")
    raw.write_text(raw.read_text().replace('{"text": "', '{"text": "Well. ', 1))
    new = {"prepare_dataset": 1, "split_dataset": 2, "finetune_shard": 1 + 4}
    assert house.planned() == new | STATISTICS | edits(2)


def test_weights_in_a_local_model_folder_changed(house):
    """A local base model is referred to, not copied: other weights under its path are seen."""
    weights = house.path("models/pico/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    new = {"fetch_model": 1, "finetune_shard": 1 + 4} | STATISTICS | edits(2) | measures(3)
    assert house.planned() == new


def test_generation_killed_between_two_scales(house):
    """kill -9 of Snakemake and its job; the next run measures only what is missing."""
    with house.config() as config:
        config["prompts"]["openings"]["generate"] |= {"seed": 7, "samples": 200}
        config["run"]["scales"] = [0.2, 0.4, 0.6, 0.8]
    manifest = house.results / "evals/pico" / EDITS[1] / "openings/generations.json"
    records = [manifest.with_name(f"generations-scale{s}.json") for s in (0.2, 0.4, 0.6, 0.8)]
    target = ["--cores", "1", "--", str(manifest.relative_to(house.folder))]

    with subprocess.Popen(
        house.command(*target),
        cwd=house.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        wait_for(lambda: records[0].is_file() or run.poll() is not None)
        os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert not manifest.is_file()
    finished = {path: path.stat().st_mtime_ns for path in records if path.is_file()}
    assert 1 <= len(finished) < 4

    house.snakemake("--unlock")
    logs = house.logs()
    house.run(*target)
    expected = {(EDITS[1], "generations"): (4 - len(finished), 4)}
    assert house.measured(logs) == expected
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert json.loads(manifest.read_text())["scales"] == ["0.2", "0.4", "0.6", "0.8"]


def wait_for(condition, seconds=120):
    """Look again and again, a hundred times a second."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.01)


def test_record_of_one_scale_lost(house):
    """As after a kill, with the rest of the edit finished."""
    folder = house.results / "evals/pico" / EDITS[0] / "openings"
    (folder / "generations.json").unlink()
    (folder / "generations-scale1.json").unlink()
    kept = (folder / "generations-scale0.5.json").stat().st_mtime_ns

    logs = house.logs()
    target = str((folder / "generations.json").relative_to(house.folder))
    house.run("--", target)
    assert house.measured(logs) == {(EDITS[0], "generations"): (1, 2)}
    assert (folder / "generations-scale0.5.json").stat().st_mtime_ns == kept
    assert house.planned() == {}  # it came out as it was


def test_measurement_of_an_earlier_protocol_reaches_no_table(house):
    """Not even where the measuring rule is kept from running again."""
    with house.config() as config:
        config["corpora"]["polite"]["stride_tokens"] = 8
    before = (house.results / "tables/main.csv").read_bytes()
    only = ["--allowed-rules", "summarise", "tabulate_main", "--forcerun", "summarise"]
    done = house.snakemake("--cores", "1", *only, "--", "results/toy/tables/main.csv")

    said = refusal(done)
    assert "perplexity.json was made with stride_tokens = 16, and the config says 8" in said
    assert (house.results / "tables/main.csv").read_bytes() == before
    assert not (house.results / "summary.parquet").is_file()  # so no later step can read it

    # allowed to run, the rule does not take the old records for new ones
    base = "results/toy/evals/pico/base/polite/perplexity.json"
    logs = house.logs()
    house.run("--", base)
    assert house.measured(logs) == {("base", "perplexity"): (1, 1)}
