"""The workflow imported by another one: from a folder, and from a git host."""

import re
import shutil
import subprocess

import pytest
from dag.conftest import HERE
from dag.house import ROOT, House, job_stats
from dag.importer import PREFIX, TRIGGERS, Importer

pytestmark = pytest.mark.dag


def jobs(screen: str) -> set[tuple[str, str]]:
    """(rule, outputs) of a dry run's jobs, without `all`, names and paths as the plain run has."""
    found = of_rules(screen, "output")
    return {(rule.removeprefix("detox_"), out.replace("detox/", "")) for rule, out in found}


def of_rules(screen: str, what: str) -> list[tuple[str, str]]:
    """(rule, text after `what:`) of a dry run's jobs."""
    lines = rf"^(?:local)?rule (\w+):\n(?:    (?!{what}).*\n)*    {what}: (.*)"
    return re.findall(lines, screen, re.M)


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_module_plans_the_same_jobs(empty_house, tmp_path, prefix):
    importer = Importer.write(tmp_path / "importer", prefix=prefix)
    there = importer.snakemake("--dry-run", *TRIGGERS, "--", "detox_all")
    assert there.returncode == 0, there.stdout

    shutil.copy(HERE / "toy.yaml", empty_house.path("toy.yaml"))
    for name in ("models", "raw"):
        shutil.copytree(importer.path(name), empty_house.path(name))
    here = empty_house.snakemake("--dry-run")

    assert jobs(there.stdout) == jobs(here.stdout)
    assert len(jobs(here.stdout)) > 20
    outputs = re.findall(r"^    output: (.*)", there.stdout, re.M)
    start = "detox/results/toy/" if prefix else "results/toy/"
    assert all(path.startswith(start) for line in outputs for path in line.split(", "))
    assert "detoxmerge: The rerun trigger 'code'" not in there.stdout


def test_module_without_new_names_is_the_default_target_of_an_importer_without_rules(tmp_path):
    importer = Importer.write(tmp_path / "importer")
    text = importer.path("Snakefile").read_text().replace(" as detox_*", "")
    importer.path("Snakefile").write_text(re.sub(r"rule first:.*?\n\n\n", "", text, flags=re.S))
    planned = importer.planned()
    assert planned["finetune_shard"] == 1 + 4
    assert "first" not in planned


def test_one_rule_of_a_module_gets_other_resources(tmp_path):
    importer = Importer.write(tmp_path / "importer")
    importer.append(
        "\n\nuse rule generate from detoxmerge as detox_generate with:\n"
        "    resources:\n        mem_mb=4321,\n"
    )
    done = importer.snakemake("--dry-run", *TRIGGERS)
    assert done.returncode == 0, done.stdout
    assert job_stats(done.stdout)["first"] == 1  # the importer's own first rule is the default
    asked = of_rules(done.stdout, "resources")
    changed = {rule for rule, resources in asked if "mem_mb=4321" in resources}
    assert changed == {"detox_generate"}
    assert "detox/detox/" not in done.stdout


def test_code_trigger_is_a_warning_in_a_module(tmp_path):
    """The importer's other rules may want it, and Snakemake has it by default."""
    done = Importer.write(tmp_path / "importer").snakemake("--dry-run")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("detoxmerge: The rerun trigger 'code' would train again") == 1


def test_config_of_a_module_is_checked_and_the_importers_files_are_not(tmp_path):
    importer = Importer.write(tmp_path / "importer")
    with importer.path("importer.yaml").open("a") as file:
        file.write("mine: 1\nmine: 2\n")
    assert importer.planned(*TRIGGERS)
    text = importer.path("importer.yaml").read_text()
    importer.path("importer.yaml").write_text(text.replace("learning_rate", "learning_rat"))
    done = importer.snakemake("--dry-run")
    assert done.returncode != 0
    sentence = "recipes.toy.learning_rat: unknown key; did you mean 'learning_rate'?"
    assert sentence in done.stdout


@pytest.mark.parametrize("results", [".", "Snakefile", "config/x", str(ROOT), f"{ROOT}/docs"])
def test_results_over_the_files_of_an_importer_are_never_planned(tmp_path, results):
    importer = Importer.write(tmp_path / "importer", prefix="")
    text = importer.path("importer.yaml").read_text()
    importer.path("importer.yaml").write_text(text.replace("results/toy", results))
    done = importer.snakemake("--dry-run", *TRIGGERS, "--", "detox_all")
    assert done.returncode != 0, done.stdout
    assert f"results: '{results}' is " in done.stdout


def test_an_importer_with_a_prefix_has_results_at_the_prefix(tmp_path):
    importer = Importer.write(tmp_path / "importer")
    text = importer.path("importer.yaml").read_text()
    importer.path("importer.yaml").write_text(text.replace("results/toy", "."))
    importer.replace("Snakefile", "detox/results/toy/tables", "detox/tables")
    assert importer.planned(*TRIGGERS, "--", "detox_all")["detox_finetune_shard"] == 1 + 4


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """The workflow with the tag v1 on a git host, which is a folder; gives how it is named."""
    house = House.build(tmp_path / "hosts/someone/detoxmerge")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", "v1"]):
        subprocess.run([*git, *command], cwd=house.folder, check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{tmp_path}/hosts/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    return 'github("someone/detoxmerge", path="workflow/Snakefile", tag="v1")'


def test_module_of_a_git_host_runs_by_the_library_in_the_cache(hosted, tmp_path):
    importer = Importer.write(tmp_path / "importer", snakefile=hosted)
    assert importer.planned(*TRIGGERS)["detox_finetune_shard"] == 1 + 4
    shutil.rmtree(tmp_path / "hosts")  # jobs on a cluster's nodes reach no host
    edit = "models/pico/comments/merge/n=1--recipe=toy/seed42/edit.json"
    importer.run(*TRIGGERS, "--", f"detox/results/toy/{edit}")
    assert (importer.results / edit).is_file()
    made = sorted(path.name for path in importer.folder.iterdir() if path.is_dir())
    assert made == [".snakemake", "detox", "models", "raw"]


def test_module_of_a_local_git_repository_is_refused(hosted, tmp_path):
    hosts = tmp_path / "hosts/someone/detoxmerge"
    local = f'gitfile("{hosts}", path="workflow/Snakefile", tag="v1")'
    done = Importer.write(tmp_path / "importer", snakefile=local).snakemake("--dry-run")
    assert done.returncode != 0
    assert "clone the repository and give the path of its workflow/Snakefile" in done.stdout
