"""Plans of the configs that come with the workflow: their jobs, their paths, and their refusals."""

import sys
import time
from pathlib import Path

import pytest
import yaml
from dag.house import ROOT

pytestmark = pytest.mark.dag

PLAN_SECONDS = 20


def study(name):
    """A config file over config/config.yaml, as `--configfile` merges them."""
    content = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    if name != "config.yaml":
        content = _merged(content, yaml.safe_load((ROOT / "config" / name).read_text()))
    return content


def _merged(below, above):
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merged(below.get(key), value) for key, value in above.items()}


def expected_jobs(config):
    """The jobs of a study with the method `merge` alone, by counting the lists of its config."""
    run = config["run"]
    stages = [run[name] for name in ("sweep", "final") if name in run]
    sets = {kind: sum(len(s[kind]) for s in stages) for kind in ("prompts", "corpora")}
    judged = sum(len(stage["prompts"]) * len(stage["scorers"]) for stage in stages)
    used = {name for stage in stages for name in stage["scorers"]}
    split_counts = config["methods"]["merge"]["n"]
    models, datasets, seeds = (len(run[key]) for key in ("models", "datasets", "seeds"))
    trained_here = sum("pretrain" in config["models"][name] for name in run["models"])
    scorers = ["train" in config["scorers"][name] for name in used]
    edits = models * datasets * len(split_counts) * seeds
    measured = models + edits  # each base, and each edit
    jobs = {
        "fetch_model": models,
        "pretrain_base": trained_here,
        "fetch_scorer": scorers.count(False),
        "train_scorer": scorers.count(True),
        "prepare_dataset": datasets,
        "prepare_prompts": sets["prompts"],
        "prepare_corpus": sets["corpora"],
        "split_dataset": datasets * len(split_counts),
        "finetune_shard": models * datasets * sum(split_counts) * seeds,
        "merge_edit": edits,
        "parameter_change": edits,
        "measure_cost": edits,
        "shard_statistics": models * datasets * sum(n > 1 for n in split_counts) * seeds,
        "generate": measured * sets["prompts"],
        "score_toxicity": measured * judged,
        "measure_fluency": measured * sets["prompts"],
        "measure_perplexity": measured * sets["corpora"],
        "select_scale": edits * len(run["selectors"]),
        "summarise": 1,
        "tabulate_headline": 1,
        "plot_trade_off": models,
        "plot_degradation_reduction": models,
        "plot_toxicity": models,
        "plot_perplexity": models,
        "plot_parameter_change": models,
        "plot_almost_unchanged": models,
        "plot_training_loss": models,
        "plot_shard_subsets": models,
        "plot_shard_snr": models,
        "plot_shard_cosines": models,
        "tabulate_main": 1,
        "tabulate_seeds": 1,
        "export_model": len(run.get("exports", [])),
    }
    return {rule: count for rule, count in jobs.items() if count}


def test_paper_study_plans_quickly_and_exactly(empty_house):
    """The bound is for a person at a login node, who plans before every start and must not be
    tempted to skip it. It is many times what the plan takes, so only a grid that is computed anew
    for each job, or a plan that imports torch or asks the hub, exceeds it.
    """
    config = study("config.yaml")
    assert config["methods"]["merge"]["n"] == [1, 2, 5, 10, 20]
    assert len(config["run"]["scales"]) == 20

    start = time.monotonic()
    jobs = empty_house.planned()
    seconds = time.monotonic() - start

    assert jobs == expected_jobs(config)
    assert jobs["finetune_shard"] == 5 * 2 * (1 + 2 + 5 + 10 + 20)
    assert seconds < PLAN_SECONDS


def test_paper_study_is_so_many_submissions(empty_house):
    """docs/cluster.md says how many; each generation takes its scores and its fluency along."""
    jobs = empty_house.planned("--profile", "slurm")
    assert jobs == expected_jobs(study("config.yaml"))
    here = ("fetch", "prepare", "split", "select", "summarise", "plot", "tabulate")
    sent = {rule: count for rule, count in jobs.items() if not rule.startswith(here)}
    submissions = sum(sent.values()) - sent["score_toxicity"] - sent["measure_fluency"]
    measured = ("generate", "score_toxicity", "measure_fluency", "measure_perplexity")
    run = study("config.yaml")["run"]
    bases, scales, chosen = 2 * len(run["models"]), len(run["scales"]), len(run["selectors"])
    once = sum(count for rule, count in sent.items() if rule not in measured)
    edits = {rule: (sent[rule] - bases) // 2 for rule in measured}  # in each of the two stages
    each = once + sum(bases + count * (scales + chosen) for count in edits.values())
    assert (submissions, each) == (790, 5010)
    said = " ".join((ROOT / "docs/cluster.md").read_text().split())
    assert f"is {submissions} submissions" in said
    assert f"would make it {each:,}" in said


def test_scales_cost_no_jobs(empty_house):
    one = empty_house.planned("--config", "run={scales: [0.5]}")
    assert one == expected_jobs(study("config.yaml"))


def test_demo_plans_exactly(empty_house):
    jobs = empty_house.planned("--configfile", "config/demo.yaml")
    assert jobs == expected_jobs(study("demo.yaml"))
    assert jobs["pretrain_base"] == jobs["train_scorer"] == jobs["export_model"] == 1
    assert not {"fetch_scorer"} & set(jobs)


@pytest.mark.parametrize("name", ["config.yaml", "demo.yaml"])
def test_every_path_has_exactly_one_producer(empty_house, name, monkeypatch):
    monkeypatch.chdir(empty_house.folder)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the Snakefile adds to it
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "0")  # nor shall what it sets outlive the test
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "-1")
    dag = dag_of(f"config/{name}")

    rules = list(dag.workflow.rules)
    paths = [str(path) for job in dag.jobs for path in job.output]
    assert len(paths) == len(set(paths)) == expected_paths(study(name))
    for path in paths:
        producers = [rule.name for rule in rules if rule.is_producer(path)]
        assert len(producers) == 1, (path, producers)


def expected_paths(config):
    """Declared outputs: how many a job of each rule has, times its jobs."""
    outputs = {
        "prepare_dataset": 3,
        "prepare_prompts": 2,
        "prepare_corpus": 2,
        "finetune_shard": 3,
        "merge_edit": 2,
        "parameter_change": 2,
        "shard_statistics": 2,
        "summarise": 2,
        "plot_trade_off": 3,
        "plot_degradation_reduction": 3,
        "plot_toxicity": 3,
        "plot_perplexity": 3,
        "plot_parameter_change": 3,
        "plot_almost_unchanged": 3,
        "plot_training_loss": 3,
        "plot_shard_subsets": 3,
        "plot_shard_snr": 3,
        "plot_shard_cosines": 3,
        "tabulate_main": 4,
        "tabulate_seeds": 4,
        "tabulate_headline": 5,
    }
    jobs = expected_jobs(config)
    total = sum(outputs.get(rule, 1) * count for rule, count in jobs.items())
    assert total > (1500 if config["results"] == "results" else 60)
    return total


def dag_of(configfile):
    """The DAG of a dry run in the current folder, by Snakemake's API."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import Quietness, RerunTrigger
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        ResourceSettings,
    )

    triggers = frozenset(set(RerunTrigger.all()) - {RerunTrigger.CODE})
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[Path(configfile)]),
        )
        workflow.dag(DAGSettings(rerun_triggers=triggers)).execute_workflow(executor="dryrun")
        return workflow._workflow.dag


@pytest.mark.parametrize(
    "target",
    [
        "results/models/gpt2/toxigen/merge/n=7/seed42/edit.json",
        "results/evals/gpt2/toxigen/merge/n=7/seed42/rtp-test/generations.json",
        "results/evals/gpt2/toxigen/merge/n=7/seed42/change.json",
        "results/evals/gpt2/toxigen/merge/n=7/seed42/cost.json",
    ],
)
def test_setting_outside_the_study_is_refused(empty_house, target):
    done = empty_house.snakemake("--dry-run", "--", target)
    assert done.returncode != 0
    sentence = "merge has no setting 'n=7' for gpt2 in the config; did you mean 'n="
    assert sentence in done.stdout
    assert done.stdout.split(sentence)[1].split("'")[0] in {"1", "2", "5", "10", "20"}
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    "target",
    [
        "results/evals/gpt2/base/rtp-test/generations-scale0.5.json",  # not declared, on purpose
        "results/models/gpt2/toxigen/shards/default/n0/shard0/seed42/meta.json",
        "results/models/gpt2/toxigen/shards/default/n2/shard01/seed42/meta.json",
        "results/models/gtp2/base/edit.json",
        "results/evals/gpt2/base/change.json",
        "results/exports/gpt2/base/scale0/export.json",
    ],
)
def test_path_outside_the_grammar_has_no_rule(empty_house, target):
    done = empty_house.snakemake("--dry-run", "--", target)
    assert done.returncode != 0
    assert "MissingRuleException" in done.stdout


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("merge/n=5/seed42/scale0.33", "has no scale or selector '0.33'; did you mean '0.3"),
        ("merge/n=7/seed42/scale0.5", "the study has no edit 'gpt2/toxigen/merge/n=7/seed42'; did"),
    ],
)
def test_export_outside_the_study_is_refused(empty_house, name, sentence):
    target = f"results/exports/gpt2/toxigen/{name}/export.json"
    done = empty_house.snakemake("--dry-run", "--", target)
    assert done.returncode != 0
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout


def test_config_errors_come_all_at_once_before_the_dag(empty_house):
    empty_house.path("wrong.yaml").write_text(
        "recipes: {default: {learning_rat: 1.0e-5}}\n"
        "corpora: {wikitext-103-test: {stride_tokens: 1e2}}\n"
        "run: {seeds: [one]}\n"
    )
    done = empty_house.snakemake("--dry-run", "--configfile", "wrong.yaml")
    assert done.returncode != 0
    for sentence in (
        "recipes.default.learning_rat: unknown key; did you mean 'learning_rate'?",
        "corpora.wikitext-103-test.stride_tokens: '1e2' is text to YAML, not a number",
    ):
        assert sentence in done.stdout
    assert "Traceback" not in done.stdout
    assert "Building DAG" not in done.stdout


def test_unknown_aliases_come_all_at_once_before_the_dag(empty_house):
    empty_house.path("wrong.yaml").write_text("run: {models: [gtp2], datasets: [toxygen]}\n")
    done = empty_house.snakemake("--dry-run", "--configfile", "wrong.yaml")
    assert done.returncode != 0
    for sentence in (
        "run.models.0: 'gtp2' is not among models; did you mean 'gpt2'?",
        "run.datasets.0: 'toxygen' is not among datasets; did you mean 'toxigen'?",
    ):
        assert sentence in done.stdout
    assert "Traceback" not in done.stdout
    assert "Building DAG" not in done.stdout
