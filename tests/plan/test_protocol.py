"""What decides numbers: each stage's protocol moves with its own keys and with nothing else."""

import pytest
from plan.studies import comments, load_config, prompts, study

from detoxmerge.plan import protocol as stages
from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.grid import Grid


def expected(changes=None):
    """Path -> protocol of the smallest study, one model exported, after some changes."""
    extras = {
        "selectors.best": {"rule": "pareto"},
        "run.selectors": ["best"],
        "run.exports": ["small/rude/merge/n=1/seed42/scalebest"],
    }
    return expected_protocols(Grid(load_config(study(extras | (changes or {})))))


def moved(changes):
    """Stages (as the ends of their paths) whose protocol these changes move."""
    before, after = expected(), expected(changes)
    assert set(before) == set(after)
    return {path.rsplit("/", 1)[1] for path in before if before[path] != after[path]}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("device", "auto"),
        ("prompts.openings.generate", {"batch_size": 7}),
        ("corpora.polite.batch_size", 7),
        ("scorers.judge.batch_size", 7),
        ("recipes.default.checkpoint_minutes", 1.0),
        ("models.small.pretrain.checkpoint_minutes", 1.0),
        ("scorers.judge.train.checkpoint_minutes", 1.0),
        ("recipes.other", {"epochs": 2}),
        ("run.scales", [0.25, 1.0, 2.0]),
    ],
)
def test_what_decides_no_number_moves_no_protocol(place, value):
    assert moved({place: value}) == set()


@pytest.mark.parametrize(
    ("place", "value", "stages"),
    [
        ("recipes.default.batch_size", 7, {"meta.json"}),
        ("recipes.default.learning_rate", 1e-3, {"meta.json"}),
        ("datasets.rude.toxic_above", 0.9, {"dataset.json"}),
        ("datasets.rude.where", {"tone": "rude"}, {"dataset.json"}),
        ("split.seed", 1, {"partition-n1.json", "partition-n2.json"}),
        ("prompts.openings.generate", {"seed": 1}, {"generations.json", "cost.json"}),
        ("run.scales", [0.25], {"cost.json"}),
        ("prompts.openings.sample", {"rows": 2, "seed": 1}, {"prompts.json"}),
        ("corpora.polite.window_tokens", 64, {"perplexity.json"}),
        ("corpora.polite.stride_tokens", 8, {"perplexity.json"}),
        ("corpora.polite.join", " ", {"corpus.json"}),
        # applied to the scores when they are summarised
        ("scorers.judge.thresholds", [0.5], set()),
        ("scorers.judge.any_above", 0.6, set()),
        ("scorers.judge.label", "insult", {"toxicity-judge.json"}),
        ("selectors.best", {"rule": "ppl-ratio", "ratio": 1.1}, {"selected-best.json"}),
        ("scorers.judge.train.epochs", 1, {"scorer.json"}),
        ("models.small.pretrain.steps", 1, {"model.json"}),
        ("models.small.pretrain.texts", [comments(sample={"rows": 3, "seed": 1})], {"model.json"}),
        (
            "models.small.dtype",
            "bfloat16",
            {"generations.json", "fluency.json", "perplexity.json", "cost.json"},
        ),
        ("run.fluency_judge", "small", {"fluency.json"}),
    ],
)
def test_key_moves_the_protocol_of_its_own_stage_only(place, value, stages):
    assert moved({place: value}) == stages


@pytest.mark.parametrize(
    ("stage", "ends"),
    [
        ("fetch_model", {"edit.json"}),
        ("finetune_shard", {"meta.json"}),
        ("generate", {"generations.json"}),
        ("measure_perplexity", {"perplexity.json"}),
        ("score_toxicity", {"toxicity-judge.json"}),
        ("measure_fluency", {"fluency.json"}),
        ("parameter_change", {"change.json"}),
        ("measure_cost", {"cost.json"}),
        ("select_scale", {"selected-best.json"}),
        ("export_model", {"export.json"}),
        ("shard_statistics", {"shards.json"}),
    ],
)
def test_bumped_version_moves_its_own_stage_only(monkeypatch, stage, ends):
    before = expected()
    monkeypatch.setitem(stages.VERSION, stage, stages.VERSION[stage] + 1)
    after = expected()
    found = {path.rsplit("/", 1)[1] for path in before if before[path] != after[path]}
    assert found == ends


def test_limit_of_the_sweep_moves_the_samples_of_edits_alone():
    before, after = expected(), expected({"run.sweep.within": {"ppl_ratio": 1.5}})
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {path for path in before if path.endswith("seed42/openings/generations.json")}
    for path in changed:
        within = {"ppl_ratio": 1.5, "corpora": ["polite"]}
        assert after[path] == before[path] | {"within": within}


def test_a_study_without_a_limit_has_the_config_of_before():
    """Its jobs depend on the config, and the results hold it."""
    for unset in ({}, {"run.sweep.within": None}):
        dumped = load_config(study(unset)).model_dump()["run"]["sweep"]
        assert dumped.keys() == {"prompts", "corpora", "scorers"}


def test_other_prompt_set_is_another_protocol_of_its_own():
    changes = {"prompts.more": prompts(sample={"rows": 2, "seed": 1})}
    protocol = Grid(load_config(study(changes))).protocol
    assert protocol.prompts("more") != protocol.prompts("openings")
    assert protocol.generate("small", "more") == protocol.generate("small", "openings")


def test_scorers_protocol_says_where_it_comes_from(tmp_path):
    file = tmp_path / "a.ckpt"
    file.touch()
    local = {"checkpoint": {"file": str(file), "tokenizer": str(tmp_path)}}
    changes = {"scorers.local": local, "scorers.known": {"detoxify": "unbiased"}}
    protocol = Grid(load_config(study(changes))).protocol
    assert protocol.scorer("local") == {"version": 1, **local}
    assert protocol.scorer("known") == {"version": 1, "detoxify": "unbiased"}
    assert protocol.scorer("judge").keys() == {"version", "train"}
    assert protocol.scorer("judge")["train"]["epochs"] == 2
