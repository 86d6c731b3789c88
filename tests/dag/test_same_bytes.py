"""The toy study made twice, in two folders by processes of their own: the same bytes of every file.

The second time the workflow is imported by another one, and everything is made in one run; the
first time it was made in two.
"""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from dag.conftest import HERE, everything_else
from dag.house import ROOT, House, merged
from dag.importer import TRIGGERS, Importer

from detoxmerge.plan.paths import Paths
from detoxmerge.storage.artefacts import read_json

pytestmark = pytest.mark.dag

TIMES = ("logs/", "benchmarks/")  # folders; costs have times, too, and are compared without them
NUMBERS_OF_TIME = (
    "tokens_per_second",
    "base_tokens_per_second",
    "tokens_per_second_over_base",
    "training_seconds",
)
# what lies beside manifests, or has several forms: folder -> names
BESIDE = {
    r"data/scorers/tiny/": [r"scorer\.ckpt", r"loss\.csv"],
    r"data/scorers/tiny/tokenizer/": [r"vocab\.txt", r"config\.json", r"tokenizer_config\.json"],
    r"models/home/pretrained/": [r"model\.safetensors", r"tokenizer\.json", r"loss\.csv"],
    r"models/pico/comments/merge/.+/": [r"delta\.safetensors"],
    r"models/pico/-/destein/.+/": [r"hooks\.safetensors", r"pairs\.jsonl", r"probes\.csv"],
    r"evals/.+/(generations|toxicity-tiny|fluency|perplexity)": [r"-scale[\d.]+\.json"],
    r"evals/.+/generations": [r"-scale[\d.]+\.jsonl"],
    r"evals/.+/(toxicity-tiny|fluency|perplexity)": [r"-scale[\d.]+\.parquet"],
    r"evals/.+/": [r"change\.parquet", r"shards\.parquet"],
    r"exports/.+/": [r"model\.safetensors", r"config\.json", r"tokenizer\.json", r"README\.md"],
    r"figures/trade_off-pico": [r"\.png", r"\.pdf", r"\.csv"],
    r"tables/main": [r"\.csv", r"\.md", r"\.tex", r"\.html"],
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The study of `everything` in another folder, made by a workflow that imports this one."""
    importer = Importer.write(tmp_path_factory.mktemp("again") / "importer", prefix="")
    toy = everything_else(importer, yaml.safe_load((HERE / "toy.yaml").read_text()))
    # a plain run reads two files, and has what only the first one names behind the rest
    whole = merged(yaml.safe_load((ROOT / "config/config.yaml").read_text()), toy)
    config = {"detoxmerge": merged(toy, whole)}
    importer.path("importer.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    importer.run(*TRIGGERS, "--", "first", "detox_all")
    assert importer.planned(*TRIGGERS, "--", "detox_all") == {}
    return importer


def files(house: House) -> dict[str, Path]:
    """Path in the results folder -> file, of all but logs and times."""
    found = (path for path in house.results.rglob("*") if path.is_file())
    paths = {str(path.relative_to(house.results)): path for path in found}
    return {name: path for name, path in paths.items() if not name.startswith(TIMES)}


def test_importer_gets_its_own_rules_and_no_folders_but_results(imported):
    assert imported.path("header.txt").read_text().startswith("model,")
    made = sorted(path.name for path in imported.folder.iterdir() if path.is_dir())
    assert made == [".snakemake", "given", "models", "raw", "results"]


def test_every_kind_of_artefact_is_there(everything):
    found = files(everything)
    kinds = {name: pattern for name, pattern in vars(Paths("")).items() if name != "results"}
    for name, pattern in kinds.items():
        form = re.sub(r"\\{edit\\}", ".+", re.escape(pattern.removeprefix("/")))
        form = re.sub(r"\\{\w+\\}", "[^/]+", form)
        assert [path for path in found if re.fullmatch(rf"{form}(\.\w+)?", path)], name
    for folder, names in BESIDE.items():
        for name in names:
            assert [path for path in found if re.fullmatch(folder + name, path)], folder + name


def test_two_runs_give_the_same_bytes(everything, imported):
    """But for logs and times. The tables of the second run are made again from the costs of the
    first, as costs are times.
    """
    for name, path in files(everything).items():
        if path.name == "cost.json":
            again = imported.results / name
            ours, theirs = (read_json(cost) for cost in (path, again))
            assert all(ours.pop(number) and theirs.pop(number) for number in NUMBERS_OF_TIME[:3])
            assert ours | {"training_seconds": 0} == theirs | {"training_seconds": 0}
            shutil.copy(path, again)
    imported.run(*TRIGGERS, "--", "results/toy/tables/main.csv")

    here, there = files(everything), files(imported)
    assert here.keys() == there.keys()
    assert len(here) > 150
    differing = [name for name in here if here[name].read_bytes() != there[name].read_bytes()]
    assert differing == []
