"""What the methods that train, and those made from them, ask for and refuse in the config."""

from pathlib import Path
from typing import Any

import beside
import numpy as np
import pico
import pytest
from plan.studies import load_config, prompts, refusal, study
from safetensors.numpy import load_file, save_file

from detoxmerge.plan.grid import Grid
from detoxmerge.plan.registry import METHODS
from detoxmerge.train.job import Job

FSDP = {"recipes.spread": {"strategy": "fsdp", "processes": 2}}


def asked(method: str, entry: dict[str, Any] | None) -> tuple[Grid, list[str]]:
    """A study of one edit, and the inputs that it asks for, without the results folder."""
    grid = Grid(load_config(study({f"methods.{method}": entry, "run.methods": [method]})))
    (edit,) = grid.edits
    return grid, [path.removeprefix("results/") for path in grid.inputs_of(edit)]


def refused(method: str, entry: dict[str, Any] | None, **more: Any) -> str:
    return refusal({f"methods.{method}": entry, "run.methods": [method]} | more)


@pytest.mark.parametrize("method", ["gradient_ascent", "finetune_nontoxic"])
def test_a_method_that_trains_asks_for_base_and_data(method: str) -> None:
    grid, inputs = asked(method, {"recipe": "default"})
    assert inputs == ["models/small/base/edit.json", "data/datasets/rude/dataset.json"]
    assert not grid.fine_tunes


def test_filtering_asks_for_what_its_mode_needs() -> None:
    _, inputs = asked("filtering", {"mode": "corpus_threshold"})
    assert inputs == ["models/small/base/edit.json", "data/datasets/rude/dataset.json"]
    changes = {
        "methods.filtering": {
            "mode": "self_generated_median", "prompts": "seeds", "scorer": "judge",
        },
        "run.methods": ["filtering"],
        "prompts.openings": prompts(part="test"),
        "prompts.seeds": prompts(part="validation"),
    }  # fmt: skip
    grid = Grid(load_config(study(changes)))
    (edit,) = grid.edits
    assert grid.inputs_of(edit) == [
        "results/models/small/base/edit.json",
        "results/evals/small/base/seeds/generations.json",
        "results/evals/small/base/seeds/toxicity-judge.json",
    ]


@pytest.mark.parametrize("method", ["ext_sub", "expert_anti_expert"])
def test_a_contrast_is_made_from_an_expert_and_n_fine_tunes(method: str) -> None:
    grid, inputs = asked(method, {"num_shards": 2})
    shards = [f"models/small/rude/shards/default/n2/shard{i}/seed42/meta.json" for i in (0, 1)]
    expert = "models/small/rude/finetune_nontoxic/default/seed42/edit.json"
    assert inputs == ["models/small/base/edit.json", expert, *shards]
    read = grid.tensors_read(grid.edits[0])
    wanted = [*shards, expert]
    assert read == [f"results/{p.rsplit('/', 1)[0]}/delta.safetensors" for p in wanted]


@pytest.mark.parametrize("method", ["ext_sub", "expert_anti_expert"])
def test_a_contrast_starts_from_the_expert_and_takes_rows_by_what_they_feed(
    gpt2_base: Path, tmp_path: Path, method: str
) -> None:
    vectors = []
    for i in range(3):
        noise = {name: t.numpy() for name, t in pico.noise(pico.gpt2(), seed=i).items()}
        (tmp_path / str(i)).mkdir()
        save_file(noise, tmp_path / str(i) / "delta.safetensors")
        beside.manifest(tmp_path / str(i) / "meta.json", "delta.safetensors")
        vectors.append({name: t.astype(np.float64) for name, t in noise.items()})
    inputs = [gpt2_base, *(tmp_path / str(i) / "meta.json" for i in range(3))]
    params = METHODS[method].Params(num_shards=2, alpha=0.6)
    fields = METHODS[method].build(inputs, params, Job(tmp_path / "edit.json"))
    found = load_file(tmp_path / fields["tensors"]["file"])
    assert fields["sign"] == 1
    for name, plus in vectors[0].items():
        minus = (vectors[1][name] + vectors[2][name]) / 2
        if method == "ext_sub":
            axis = 0 if ".c_" in name and plus.ndim == 2 else -1  # Conv1D has (in, out)
            ours, theirs = (np.linalg.norm(v, axis=axis, keepdims=True) for v in (plus, minus))
            u = plus / ours + minus / theirs
            u /= np.linalg.norm(u, axis=axis, keepdims=True)
            minus = minus - (minus * u).sum(axis, keepdims=True) * u
        np.testing.assert_allclose(found[name], plus - 0.6 * minus, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "mode: missing; it has no default"),
        (
            {"mode": "corpus_threshold", "threshold": 0.5, "scorer": "judge"},
            " mode corpus_threshold has no `scorer`; leave it out",
        ),
        (
            {"mode": "self_generated_median", "scorer": "judge"},
            " mode self_generated_median needs `prompts`",
        ),
        (
            {"mode": "self_generated_median", "prompts": "openings"},
            " mode self_generated_median needs `scorer`",
        ),
        (
            {
                "mode": "self_generated_median",
                "prompts": "openings",
                "scorer": "judge",
                "threshold": 0.5,
            },
            " mode self_generated_median has no `threshold`; leave it out",
        ),
    ],
)
def test_filtering_refuses_what_does_not_fit_its_mode(entry: dict[str, Any], said: str) -> None:
    assert refused("filtering", entry).removeprefix("methods.filtering").lstrip(".:") == said


@pytest.mark.parametrize(
    ("method", "entry"),
    [
        ("gradient_ascent", {}),
        ("finetune_nontoxic", {}),
        ("filtering", {"mode": "corpus_threshold", "threshold": 0.5}),
        ("ext_sub", {}),
        ("expert_anti_expert", {}),
    ],
)
def test_a_recipe_for_several_processes_is_refused(method: str, entry: dict[str, Any]) -> None:
    assert refused(method, entry | {"recipe": "spread"}, **FSDP) == (
        f"methods.{method}: recipe 'spread' shares the model by `strategy: fsdp`, and this method "
        "trains in one process; name a recipe without `strategy`"
    )
