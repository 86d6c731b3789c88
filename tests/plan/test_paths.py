"""The grammar of the results folder: one producer per path, logs and benchmarks mirror outputs."""

import re
from itertools import combinations

from plan.studies import load_config, study

from detoxmerge.plan.grid import Grid
from detoxmerge.plan.paths import Paths

EDIT = "rude/merge/n=4/seed42"
VALUES = {
    "model": "small",
    "dataset": "rude",
    "recipe": "default",
    "n": 4,
    "shard": 0,
    "finetune": 0,
    "seed": 42,
    "method": "merge",
    "setting": "n=4",
    "prompts": "openings",
    "corpus": "polite",
    "scorer": "judge",
    "figure": "toxicity",
    "table": "main",
    "selector": "budget",
    "scale": "0.5",
    "edit": EDIT,
}


def patterns():
    """Name -> pattern, without the one that is an alias of another."""
    return {k: v for k, v in vars(Paths()).items() if k not in ("results", "any_edit")}


def test_every_pattern_lies_below_the_results_folder():
    other = {k: v for k, v in vars(Paths("results/other")).items() if k != "results"}
    assert all(pattern.startswith("results/other/") for pattern in other.values())


def test_slash_at_the_end_of_the_results_folder_changes_no_path():
    grid = Grid(load_config(study({"results": "results/"})))
    assert grid.paths.summary == "results/summary.parquet"
    assert not any("//" in path for path in grid.results)


def test_every_filled_path_is_another():
    filled = [pattern.format(**VALUES) for pattern in patterns().values()]
    assert len(set(filled)) == len(filled)


def test_no_path_fits_two_patterns():
    """With wildcards that hold no slash, but `{edit}`."""
    as_regex = {}
    for name, pattern in patterns().items():
        parts = re.split(r"{(\w+)}", pattern)
        regex = ""
        for literal, wildcard in zip(parts[::2], [*parts[1::2], None], strict=True):
            regex += re.escape(literal)
            if wildcard == "edit":
                regex += "(?:base|[^/]+/merge/[^/]+/seed[^/]+)"
            elif wildcard == "method":
                regex += "merge"
            elif wildcard in ("setting", "recipe"):
                regex += "[^/]+"
            elif wildcard:
                regex += r"[a-z0-9][a-z0-9_.-]*"
        as_regex[name] = regex
    for a, b in combinations(as_regex, 2):
        assert not re.fullmatch(as_regex[a], patterns()[b].format(**VALUES)), (a, b)
        assert not re.fullmatch(as_regex[b], patterns()[a].format(**VALUES)), (a, b)


def test_edit_and_measurements_lie_in_corresponding_folders():
    p = Paths()
    edit = p.edit.format(**VALUES)
    assert edit == p.any_edit.format(**VALUES) == f"results/models/small/{EDIT}/edit.json"
    assert p.change.format(**VALUES) == f"results/evals/small/{EDIT}/change.json"
    assert p.base.format(**VALUES) == p.any_edit.format(**VALUES | {"edit": "base"})


def test_shards_of_different_n_share_no_folder_and_seeds_share_the_partition():
    p = Paths()
    folders = {p.shard.format(**VALUES | {"n": n}).rsplit("/", 1)[0] for n in (1, 2, 4)}
    assert len(folders) == 3
    assert "{seed}" not in p.partition
    assert "{model}" not in p.partition
    assert p.shard.rpartition("/")[0] == p.shard_delta.rpartition("/")[0]


def test_wildcards_of_a_path_are_those_that_made_it():
    p = Paths("results/v1.0")
    path = p.shard.format(**VALUES | {"model": "phi-1.5"})
    names = ("model", "dataset", "recipe", "n", "shard", "seed")
    assert p.wildcards(p.shard, path) == {
        name: str((VALUES | {"model": "phi-1.5"})[name]) for name in names
    }
    for other in (p.edit.format(**VALUES), path + "x", path.replace("v1.0", "v1x0")):
        assert p.wildcards(p.shard, other) is None


def test_log_and_benchmark_mirror_the_output():
    p = Paths("results/demo")
    assert p.log(p.dataset) == "results/demo/logs/data/datasets/{dataset}/dataset.log"
    assert p.benchmark(p.dataset) == "results/demo/benchmarks/data/datasets/{dataset}/dataset.tsv"
    assert p.log(p.shard, "finetune").endswith("/shard{shard}/seed{seed}/finetune.log")
    assert p.log(p.summary) == "results/demo/logs/summary.log"
    assert p.log(p.figure + ".png") == "results/demo/logs/figures/{figure}-{model}.log"


def test_log_of_a_name_with_a_dot_keeps_it():
    p = Paths()
    assert p.log("results/evals/phi-1.5/base/x.json") == "results/logs/evals/phi-1.5/base/x.log"
