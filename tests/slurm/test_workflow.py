"""The whole workflow through a real SLURM: what is asked for, and what a change submits."""

import json
import re
import shutil
import time
from collections import Counter

import pytest
import yaml
from dag.house import RESULTS
from slurm.driver import SlurmHouse

pytestmark = pytest.mark.slurm
quick = pytest.mark.slurm_quick


TOGETHER = "generate with score_toxicity and measure_fluency"
TAKEN_ALONG = ("score_toxicity", "measure_fluency")
HERE = ("fetch_", "prepare_", "split_", "select_", "summarise", "plot_", "tabulate")
NO_GPU = ("merge_edit", "parameter_change", "shard_statistics", "export_model")


def demo(folder):
    """The demo's study, with little to do in each job."""
    house = SlurmHouse.build(folder)
    shutil.copy(house.path("config/demo.yaml"), house.path("toy.yaml"))
    with house.config() as config:
        config["results"] = RESULTS
        config["device"] = "auto"  # a GPU is asked for; the jobs compute without
        config["models"]["demo"]["pretrain"]["steps"] = 20
        config["datasets"]["demo-comments"]["generated"]["rows"] = 300
        config["recipes"]["demo"]["epochs"] = 1
        config["scorers"]["demo-scorer"]["train"]["epochs"] = 1
        for prompts in config["prompts"].values():
            prompts["sample"]["rows"] = 8
        for corpus in config["corpora"].values():
            corpus["sample"]["rows"] = 20
    return house


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory):
    """All jobs of the demo, through SLURM."""
    house = demo(tmp_path_factory.mktemp("demo") / "house")
    house.cluster = cluster
    house.expected = house.planned("--profile", "slurm")
    begin = time.monotonic()
    house.start(until="all")
    assert house.wait(1500) == 0, house.said()[-6000:]
    house.seconds = time.monotonic() - begin
    return house


@pytest.fixture(scope="module")
def seconds_without_slurm(tmp_path_factory):
    """The same study, by Snakemake alone on this machine."""
    house = demo(tmp_path_factory.mktemp("local") / "house")
    begin = time.monotonic()
    house.run()
    return time.monotonic() - begin


def submitted(house):
    """Rule, or group -> rows of sacct, of every job sent from a house."""
    found = {}
    for row in house.accounts():
        rule = re.match(r"rule_(.+?)(_wildcards_.*)?$", row["comment"])[1]
        single = rule in house.expected and rule not in ("generate", *TAKEN_ALONG)
        found.setdefault(rule if single else TOGETHER, []).append(row)
    return found


def seconds(elapsed):
    """Of sacct's HH:MM:SS."""
    hours, minutes, rest = elapsed.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + int(rest)


@quick
def test_every_costly_rule_is_a_job_with_its_request(finished, facts):
    jobs = submitted(finished)
    expected = {rule: n for rule, n in finished.expected.items() if not rule.startswith(HERE)}
    expected[TOGETHER] = expected.pop("generate")
    for rule in TAKEN_ALONG:
        assert expected.pop(rule) == expected[TOGETHER]
    assert {name: len(rows) for name, rows in jobs.items()} == expected
    for name, rows in jobs.items():
        for row in rows:
            assert row["state"] == "COMPLETED"
            # one also for three GPU rules
            assert ("gres/gpu=1" in row["reqtres"]) == (name not in NO_GPU), row
            assert re.search(r"mem=\d+[MG]", row["reqtres"])
            assert row["timelimit"] != "UNLIMITED"
    asked = Counter(
        (name, row["reqtres"], row["timelimit"]) for name, rows in jobs.items() for row in rows
    )
    facts["requests"] = [
        {"job": name, "count": count, "asked": tres, "limit": limit}
        for (name, tres, limit), count in asked.items()
    ]


def test_what_slurm_adds_to_a_job(finished, seconds_without_slurm, facts):
    """Elapsed in the queue's books, less the rules' own seconds: two Snakemakes start in a job."""
    rows = [row for rows in submitted(finished).values() for row in rows]
    folder = finished.results / "benchmarks"
    here = [*folder.glob("data/[dpc]*/**/*.tsv"), *folder.glob("models/*/base/*.tsv")]
    files = set(folder.rglob("*.tsv")) - set(here)
    own = sum(float(file.read_text().splitlines()[1].split()[0]) for file in files)
    elapsed = sum(seconds(row["elapsed"]) for row in rows)
    facts["overhead"] = {
        "jobs": len(rows),
        "seconds_of_jobs": elapsed,
        "seconds_of_rules": round(own),
        "seconds_added_per_job": round((elapsed - own) / len(rows), 1),
        "seconds_of_the_run": round(finished.seconds),
        "seconds_without_slurm": round(seconds_without_slurm),
    }
    print(facts["overhead"])
    assert 0 < facts["overhead"]["seconds_added_per_job"] < 60


@quick
def test_nothing_of_it_runs_again(finished):
    assert finished.planned("--profile", "slurm") == {}


def test_an_added_n_submits_only_its_own_jobs(finished, tmp_path):
    house = SlurmHouse(finished.copy(tmp_path / "house").folder, finished.cluster)
    with house.config() as config:
        config["methods"]["merge"]["n"] = [1, 2, 4, 3]
    house.start(until="all")
    assert house.wait(900) == 0, house.said()[-6000:]
    house.expected = finished.expected
    jobs = {name: len(rows) for name, rows in submitted(house).items()}
    assert jobs == {
        "finetune_shard": 3,
        "merge_edit": 1,
        "measure_perplexity": 2,  # of both stages
        "parameter_change": 1,
        "measure_cost": 1,
        "shard_statistics": 1,
        TOGETHER: 3,  # of three prompt sets
    }
    folders, before = (
        set(one.results.glob("models/demo/demo-comments/shards/demo/n*/shard*"))
        for one in (house, finished)
    )
    new = {f"{f.parent.name}/{f.name}" for f in folders} - {
        f"{f.parent.name}/{f.name}" for f in before
    }
    assert new == {f"n3/shard{i}" for i in range(3)}


@pytest.mark.parametrize(
    ("old", "new", "setting"),
    [
        ('"DETOXMERGE_SLURM_ACCOUNT", ""', '"DETOXMERGE_SLURM_ACCOUNT", "nobody"', "ACCOUNT"),
        (
            '"DETOXMERGE_SLURM_PARTITION", ""',
            '"DETOXMERGE_SLURM_PARTITION", "nowhere"',
            "PARTITION",
        ),
        ('GPU_MODEL = ""', 'GPU_MODEL = "h100"', "GPU_MODEL"),
        ('GPU_CONSTRAINT = ""', 'GPU_CONSTRAINT = "big"', "GPU_CONSTRAINT"),
    ],
)
def test_what_the_site_refuses_is_said_before_anything_is_sent(house, old, new, setting):
    profile = "profiles/slurm/config.yaml"
    house.replace(profile, old, new)
    done = house.snakemake("--profile", "slurm", "--until", "finetune_shard")
    assert done.returncode == 1, done.stdout
    line = 1 + next(
        i
        for i, text in enumerate(house.path(profile).read_text().splitlines())
        if f"- {setting} =" in text
    )
    assert re.search(
        rf"SLURM refuses finetune_shard .*\b{setting} in {profile}, line {line}\b", done.stdout
    ), done.stdout
    assert "Traceback" not in done.stdout
    assert not house.mine()


def test_gres_form(house):
    house.replace("profiles/slurm/config.yaml", 'GPU_REQUEST = "gpus"', 'GPU_REQUEST = "gres"')
    with house.config() as config:
        config["recipes"]["toy"]["epochs"] = 2
    house.start(until="finetune_shard")
    assert house.wait() == 0
    asked = {row["reqtres"] for row in house.accounts()}
    assert all("gres/gpu=1" in tres for tres in asked)


def test_a_fine_tune_over_two_nodes(house):
    with house.config() as config:
        spread = {"processes": 2, "nodes": 2, "strategy": "fsdp"}
        config["recipes"]["toy"] |= spread | {"epochs": 2, "batch_size": 4}
    house.start(until="finetune_shard")
    assert house.wait() == 0
    for row in house.accounts():
        assert row["state"] == "COMPLETED"
        assert {"node=2", "gres/gpu=2"} <= set(row["reqtres"].split(",")), row
    metas = list(house.results.glob("models/pico/comments/shards/toy/n2/*/seed42/meta.json"))
    assert [json.loads(meta.read_text())["protocol"]["processes"] for meta in metas] == [2, 2]


def test_keys_of_the_profile_are_in_force(house):
    """profiles/default is read as well, and a key that stands in both is taken from there."""
    read = lambda name: yaml.safe_load(house.path(f"profiles/{name}/config.yaml").read_text())  # noqa: E731
    default, slurm = read("default"), read("slurm")
    shared = set(default) & set(slurm)
    assert shared == {"rerun-triggers", "max-checksum-file-size", "show-failed-logs"}
    assert all(default[key] == slurm[key] for key in shared)
    assert not {"jobs", "retries", "default-resources", "executor"} & set(default)
