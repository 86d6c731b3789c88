"""load_config and its checks: what is accepted, and the sentence for every kind of mistake.

Each refusal is a SystemExit with one sentence per error, which names the place in the config and
how to mend it.
"""

import json
import subprocess
import sys
from math import isfinite
from pathlib import Path

import pytest
import yaml
from plan.studies import HASH, comments, prompts, refusal, refusals, study
from snakemake.utils import update_config

from detoxmerge.errors import nearest
from detoxmerge.plan.load import load_config

ROOT = Path(__file__).parents[2]


def shipped(*names):
    """The files of config/, merged as Snakemake merges them."""
    merged = {}
    for name in names:
        update_config(merged, yaml.safe_load((ROOT / "config" / name).read_text()))
    return merged


def test_smallest_config_is_valid_and_complete():
    config = load_config(study())
    assert config.run.scales == [0.5, 1.0]
    assert config.split.seed == 42
    assert config.recipes["default"].epochs == 1
    assert config.recipes["default"].learning_rate == 1e-5
    assert config.prompts["openings"].generate.samples == 25


def test_checked_config_is_valid_again():
    config = load_config(study())
    assert load_config(config.model_dump()) == config


def test_config_is_not_changed_by_the_check():
    raw = study({"run.scales": ["0.5"]})
    load_config(raw, command_line={"run": {"scales": ["0.5"]}})
    assert raw == study({"run.scales": ["0.5"]})


def test_papers_study_is_valid():
    config = load_config(shipped("config.yaml"))
    assert config.methods["merge"]["n"] == [1, 2, 5, 10, 20]
    assert len(config.run.scales) == 20
    assert config.datasets["civil-comments"].toxic_above == 0.8
    assert config.recipes["default"].learning_rate == 1e-5


def test_demo_over_the_papers_study_is_valid_and_needs_no_file():
    config = load_config(shipped("config.yaml", "demo.yaml"))
    assert config.run.models == ["demo"]
    assert config.run.sweep.prompts == ["demo-validation"]
    assert {"gpt2", "demo"} <= set(config.models)  # mappings are merged, lists replaced
    assert config.methods["merge"] == {"n": [1, 2, 4], "operator": "mean", "recipe": "demo"}


@pytest.mark.parametrize("over", ["demo-operators.yaml", "demo-methods.yaml"])
def test_what_is_laid_over_the_demo_is_valid(over):
    found = load_config(shipped("config.yaml", "demo.yaml", over))
    assert set(found.run.method_scales) <= set(found.run.methods)
    assert found.run.models == ["demo"]


@pytest.mark.parametrize(
    ("over", "models"),
    [
        ([], ["small", "stories"]),
        (["local-operators.yaml"], ["small"]),
        (["local-methods.yaml"], ["small"]),
    ],
)
def test_local_study_is_valid_where_its_files_are(monkeypatch, tmp_path, over, models):
    monkeypatch.setenv("DETOXMERGE_DATA", str(tmp_path))
    raw = shipped("config.yaml", "local.yaml", *over)
    for name in named_files(raw):
        file = tmp_path / name.removeprefix("$DETOXMERGE_DATA/")
        if file.suffix:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        else:
            file.mkdir(parents=True)
    assert load_config(raw).run.models == models


def test_local_study_names_every_missing_file_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("DETOXMERGE_DATA", str(tmp_path))
    found = "\n".join(refusals(shipped("config.yaml", "local.yaml")))
    for name in ("davidson.parquet", "stories260K/hf", "realtoxicityprompts.jsonl.gz"):
        assert name in found
    assert f"models.stories.path: no folder '{tmp_path}/models/stories260K/hf'" in found


def test_local_study_without_its_variable_says_which_one(monkeypatch):
    monkeypatch.delenv("DETOXMERGE_DATA", raising=False)
    (found,) = refusals(shipped("config.yaml", "local.yaml"))
    assert found.startswith("models.small.pretrain.texts.path: the environment variable DETOXMERGE")
    assert "is not set; export DETOXMERGE_DATA=FOLDER (14 more paths need it)" in found


def named_files(value):
    """Every text in a config that begins with $."""
    if isinstance(value, str):
        return {value} if value.startswith("$") else set()
    values = value.values() if isinstance(value, dict) else value
    return set().union(*map(named_files, values)) if isinstance(value, dict | list) else set()


def test_refusal_is_no_traceback(tmp_path):
    code = (
        "import sys, json; from detoxmerge.plan.load import load_config;"
        "load_config(json.load(open(sys.argv[1])))"
    )
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(study({"bogus": 1, "run.models": []})))
    done = subprocess.run(
        [sys.executable, "-c", code, str(bad)],
        env={"PYTHONPATH": str(ROOT / "workflow/scripts")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[0] == "The config is not valid:"
    assert len(done.stderr.splitlines()) == 3


# unknown keys


@pytest.mark.parametrize(
    ("place", "value", "meant"),
    [
        ("dataset", {}, "datasets"),
        ("split.sed", 1, "seed"),
        ("recipes.default.learning_rat", 1e-5, "learning_rate"),
        ("models.small.pretrain.layer", 2, "layers"),
        ("datasets.rude.toxic_abov", 0.8, "toxic_above"),
        ("prompts.openings.generate.sample", 2, "samples"),
        ("corpora.polite.window_token", 64, "window_tokens"),
        ("scorers.judge.train.epoch", 2, "epochs"),
        ("scorers.judge.treshold", [0.5], "thresholds"),
        ("run.scale", [0.5], "scales"),
        ("run.sweep.prompt", ["openings"], "prompts"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_one(place, value, meant):
    assert refusal({place: value}) == f"{place}: unknown key; did you mean '{meant}'?"


def test_unknown_key_in_a_list_of_sources_is_named_with_the_nearest_one():
    source = {"generated": {"kind": "comments", "row": 20, "rows": 20, "seed": 1}}
    found = refusal({"models.small.pretrain.texts": [comments(), source]})
    place = "models.small.pretrain.texts.1.generated.row"
    assert found == f"{place}: unknown key; did you mean 'rows'?"


def test_unknown_key_in_a_mapping_of_sources_is_named_with_the_nearest_one():
    found = refusal({"scorers.judge.train.test": {"own": {"generatd": {}}}})
    place = "scorers.judge.train.test.own.generatd"
    assert found == f"{place}: unknown key; did you mean 'generated'?"


def test_unknown_key_that_resembles_none_gets_the_list_of_valid_ones():
    found = refusal({"split.zzz": 1})
    assert found == "split.zzz: unknown key; valid: seed"


def test_missing_key_is_named():
    raw = study()
    del raw["models"], raw["run"]["seeds"]
    assert refusals(raw) == [
        "models: missing; it has no default",
        "run.seeds: missing; it has no default",
    ]


# aliases


@pytest.mark.parametrize(
    ("place", "written", "kind", "meant"),
    [
        ("models", "smal", "models", "small"),
        ("datasets", "rud", "datasets", "rude"),
        ("sweep.prompts", "opening", "prompts", "openings"),
        ("sweep.corpora", "polit", "corpora", "polite"),
        ("sweep.scorers", "jugde", "scorers", "judge"),
    ],
)
def test_typo_in_an_alias_is_answered_with_the_nearest_name(place, written, kind, meant):
    found = refusal({f"run.{place}": [written]})
    assert found == f"run.{place}.0: '{written}' is not among {kind}; did you mean '{meant}'?"


def test_typo_in_the_judge_is_answered_with_the_nearest_name():
    found = refusal({"run.fluency_judge": "smal"})
    assert found == "run.fluency_judge: 'smal' is not among models; did you mean 'small'?"


def test_place_in_the_list_is_that_of_the_typo():
    assert refusal({"run.models": ["small", "smal"]}).startswith("run.models.1: 'smal' ")


@pytest.mark.parametrize("alias", ["Small", "my model", "a/b", "a=b", "a,b", "_a", ""])
def test_alias_that_cannot_stand_in_a_path_is_refused(alias):
    model = {"hub": "a/b", "revision": HASH}
    raw = study()
    raw["models"][alias] = model
    (found,) = refusals(raw)
    assert found.startswith(f"models.{alias}")
    assert "[a-z0-9][a-z0-9_.-]*" in found


def test_prompt_set_and_corpus_of_one_name_are_refused():
    changes = {"prompts.same": prompts(), "corpora.same": comments(stride_tokens=8)}
    sweep = {"prompts": ["same"], "corpora": ["same"], "scorers": ["judge"]}
    found = refusal(changes | {"run.sweep": sweep})
    assert found == "run.sweep: 'same' names a prompt set and a corpus; rename one"


# numbers and lists


@pytest.mark.parametrize(
    ("place", "text", "fixed"),
    [
        ("recipes.default.learning_rate", "1e-5", "1.0e-05"),
        ("models.small.pretrain.learning_rate", "3e-4", "3.0e-04"),
        ("datasets.rude.toxic_above", "8e-1", "8.0e-01"),
    ],
)
def test_number_without_a_dot_is_text_to_yaml_and_the_fix_is_given(place, text, fixed):
    assert isinstance(yaml.safe_load(text), str)  # the reason for all this
    found = refusal({place: yaml.safe_load(text)})
    assert found.startswith(f"{place}: '{text}' is text to YAML, not a number; write it with a dot")
    assert fixed in found
    assert yaml.safe_load(fixed) == float(text)


def test_word_instead_of_a_number_is_refused_without_that_advice():
    found = refusal({"recipes.default.learning_rate": "fast"})
    assert found == "recipes.default.learning_rate: input should be a valid number, not 'fast'"


def test_empty_results_folder_is_refused():
    """It would write to the root of the file system."""
    assert refusal({"results": ""}).startswith("results: ")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("recipes.default.epochs", 0, "greater than or equal to 1"),
        ("recipes.default.learning_rate", -1.0, "greater than 0"),
        ("datasets.rude.toxic_above", 1.0, "less than 1"),
        ("prompts.openings.generate.top_p", 1.5, "less than or equal to 1"),
        ("split.seed", -1, "greater than or equal to 0"),
    ],
)
def test_number_out_of_range_is_refused_with_the_range(place, value, words):
    found = refusal({place: value})
    assert found.startswith(f"{place}: ")
    assert words in found
    assert found.endswith(f"not {value!r}")


def test_choice_outside_of_the_list_is_refused_with_the_list():
    assert (
        refusal({"device": "gpu"}) == "device: input should be 'auto', 'cpu' or 'cuda', not 'gpu'"
    )


@pytest.mark.parametrize("scale", [0, 0.0, -1.0, float("nan"), float("inf")])
def test_scale_that_is_not_above_zero_is_refused(scale):
    found = refusal({"run.scales": [0.5, scale]})
    why = "must be a number above 0 (0 is the base model)"
    why = why if isfinite(scale) else "input should be a finite number"
    assert found.startswith(f"run.scales.1: {why}, not ")


@pytest.mark.parametrize(
    ("seed", "why"), [(-1, "greater than or equal to 0"), (2**32, "less than")]
)
def test_seed_that_no_training_takes_is_refused(seed, why):
    found = refusal({"run.seeds": [42, seed]})
    assert found.startswith(f"run.seeds.1: input should be {why}")


@pytest.mark.parametrize("folder", ["/", " ", "~/runs", "$SCRATCH/runs", "runs/{model}"])
def test_results_that_would_go_elsewhere_are_refused(folder):
    assert refusal({"results": folder}).startswith("results: ")


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        ("datasets.rude.splits", ["train"], "`splits` belongs to a hub data set"),
        ("prompts.openings.revision", HASH, "`revision` belongs to a hub data set"),
        ("datasets.rude.score", "text", "`text` and `score` are both the column 'text'"),
        ("datasets.rude.nontoxic_below", 0.9, "would be both toxic and non-toxic"),
        ("models.small.pretrain.heads", 5, "`width` must be a multiple of `heads`"),
        ("scorers.judge.train.heads", 3, "`width` must be a multiple of `heads`"),
        ("scorers.judge.thresholds", [float("nan")], "input should be a finite number"),
        ("prompts.openings.generate", {"temperature": float("inf")}, "should be a finite number"),
        ("recipes.default", {"max_grad_norm": float("inf")}, "should be a finite number"),
        (
            "recipes.default",
            {"schedule": "constant", "warmup_share": 0.5},
            "`schedule: constant` has no warm-up",
        ),
        ("methods.merge", {"n": 10**6}, "less than or equal to 10000"),
        (
            "methods.merge",
            {"n": 4, "operator": "snr", "threshold": float("inf")},
            "input should be a finite number",
        ),
    ],
)
def test_what_would_fail_or_mean_something_else_later_is_refused(place, value, why):
    assert why in refusal({place: value})


def test_a_file_that_stands_twice_is_refused(tmp_path):
    twice = {"path": [str(tmp_path / "a.csv")] * 2}
    assert "`path` names" in refusal({"datasets.rude": twice})


def test_a_key_that_stands_twice_in_a_file_is_refused_with_its_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(
        "run: &run {seeds: [1]}\nsplit: {seed: 1}\nmore:\n  - {<<: *run, a: 1, a: 2}\n"
        "  - {<<: *run, seeds: [2]}\nrun:\n  scales: [1.0]\n"
    )
    with pytest.raises(SystemExit) as refused:
        load_config(study(), [file, tmp_path / "missing.yaml"])
    assert str(refused.value).splitlines()[1:] == [
        f"  {file}, line 4: 'a' is there twice; leave one out",
        f"  {file}, line 6: 'run' is there twice; leave one out",
    ]
    load_config(study(), sorted((ROOT / "config").glob("*.yaml")))


def test_a_key_that_is_no_text_is_refused():
    assert any("1" in found for found in refusals(study() | {1: 2}))


@pytest.mark.parametrize(
    ("place", "values", "twice"),
    [
        ("models", ["small", "small"], "small"),
        ("datasets", ["rude", "rude"], "rude"),
        ("methods", ["merge", "merge"], "merge"),
        ("seeds", [1, 2, 1], "1"),
        ("scales", [0.5, 1.0, 0.5], "0.5"),
        ("sweep.prompts", ["openings", "openings"], "openings"),
        ("sweep.corpora", ["polite", "polite"], "polite"),
        ("sweep.scorers", ["judge", "judge"], "judge"),
        ("exports", ["a/scale1", "a/scale1"], "a/scale1"),
    ],
)
def test_value_that_stands_twice_in_a_list_is_refused(place, values, twice):
    found = refusal({f"run.{place}": values})
    assert found == f"run.{place}: {twice} is listed twice; leave one out"


def test_scales_that_are_one_in_paths_count_as_twice():
    found = refusal({"run.scales": [0.15, 0.1 + 0.05]})
    assert found.startswith("run.scales: 0.15")
    assert "twice" in found


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("models", "small"),
        ("datasets", "rude"),
        ("seeds", 42),
        ("scales", 0.5),
        ("sweep.prompts", "openings"),
    ],
)
def test_scalar_where_run_wants_a_list_is_refused(place, value):
    found = refusal({f"run.{place}": value})
    assert found == f"run.{place}: input should be a valid list, not {value!r}"


@pytest.mark.parametrize("place", ["models", "seeds", "scales", "sweep.corpora"])
def test_empty_list_is_refused(place):
    assert refusal({f"run.{place}": []}).startswith(f"run.{place}: list should have at least 1")


# exports

EXPORT = "small/rude/merge/n=2/seed42"


def test_exports_are_a_number_of_the_study_or_a_selectors_name():
    names = [f"{EXPORT}/scale{scale}" for scale in ("0.5", "1", "budget")]
    budget = {"selectors.budget": {"rule": "ppl-budget", "budget": 1.0}}
    changes = budget | {"run.selectors": ["budget"], "run.exports": names}
    assert load_config(study(changes)).run.exports == names
    assert load_config(study()).run.exports == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{EXPORT}/scale1.0", f"'{EXPORT}' has no scale or selector '1.0'; valid: 0.5, 1"),
        (f"{EXPORT}/scale0.55", f"'{EXPORT}' has no scale or selector '0.55'; did you mean '0.5'?"),
        (f"{EXPORT}/scalenan", f"'{EXPORT}' has no scale or selector 'nan'; valid: 0.5, 1"),
        (f"{EXPORT}/scaleBest", f"'{EXPORT}' has no scale or selector 'Best'; valid: 0.5, 1"),
        (f"{EXPORT}/scale", f"'{EXPORT}' has no scale or selector ''; valid: 0.5, 1"),
        (
            "small/rude/merge/n=3/seed42/scale1",
            "the study has no edit 'small/rude/merge/n=3/seed42'; did you mean 'small/rude/merge/",
        ),
        ("small/base/scale0", "the study has no edit 'small/base'; "),
        (
            EXPORT,
            f"'{EXPORT}' does not end with its scale; write {{model}}/{{edit}}/scale{{scale}}, for "
            "example small/rude/merge/n=1/seed42/scale1",
        ),
    ],
)
def test_export_that_the_study_does_not_have_is_refused(name, words):
    first = f"{EXPORT}/scale1"
    assert refusal({"run.exports": [first, name]}).startswith(f"run.exports.1: {words}")


def test_every_wrong_export_is_reported():
    assert len(refusals(study({"run.exports": ["a", f"{EXPORT}/scale1", "b/scale1"]}))) == 2


# sources and origins


def test_stride_larger_than_the_window_is_refused():
    found = refusal({"corpora.polite.stride_tokens": 33})
    assert found == (
        "corpora.polite: stride_tokens is larger than window_tokens: tokens would be skipped"
    )


def test_stride_as_long_as_the_window_is_valid():
    assert load_config(study({"corpora.polite.stride_tokens": 32}))


@pytest.mark.parametrize(
    ("place", "entry", "names"),
    [
        ("datasets.rude", {"hub": "a/b", "revision": HASH, "splits": "train", "path": "x"}, "hub"),
        ("datasets.rude", comments(path="x.csv"), "generated"),
        ("models.small", {"hub": "a/b", "revision": HASH, "path": "x"}, "hub"),
        ("scorers.judge", {"detoxify": "unbiased", "checkpoint": {"file": "a", "tokenizer": "b"}},
         "detoxify"),
    ],
)  # fmt: skip
def test_two_origins_at_once_are_refused(place, entry, names):
    found = refusal({place: entry})
    assert found.startswith(f"{place}: must have exactly one of ")
    assert "; has [" in found
    assert names in found.split("; has ")[1]


@pytest.mark.parametrize("place", ["datasets.rude", "models.small", "scorers.judge"])
def test_no_origin_is_refused(place):
    found = refusal({place: {}})
    assert found.startswith(f"{place}: must have exactly one of ")
    assert found.endswith("; has none")


def test_hub_without_revision_is_refused():
    found = refusals(
        study({"models.small": {"hub": "a/b"}, "datasets.rude": {"hub": "c/d", "splits": "train"}})
    )
    assert found == [
        "models.small: a hub model needs `revision` (a commit hash)",
        "datasets.rude: a hub data set needs `revision` (a commit hash) and `splits`",
    ]


@pytest.mark.parametrize("revision", ["main", HASH[:39], HASH + "0", HASH.upper(), "g" * 40])
def test_revision_that_is_not_40_hex_digits_is_refused(revision):
    found = refusal({"models.small": {"hub": "a/b", "revision": revision}})
    assert found.startswith("models.small.revision: ")
    assert "[0-9a-f]{40}" in found
    assert found.endswith(f"not '{revision}'")


def test_missing_local_file_is_refused(tmp_path):
    there = tmp_path / "there.csv"
    there.touch()
    found = refusal({"datasets.rude": {"path": [str(there), f"{tmp_path}/gone.csv"]}})
    assert found.startswith(f"datasets.rude.path: no file '{tmp_path}/gone.csv'; mend the path")


def test_missing_local_folder_is_refused(tmp_path):
    found = refusal({"models.small": {"path": f"{tmp_path}/gone"}})
    assert found.startswith(f"models.small.path: no folder '{tmp_path}/gone'; mend the path")


def test_missing_folder_of_the_judge_is_refused(tmp_path):
    judge = {"models.large": {"path": f"{tmp_path}/gone"}, "run.fluency_judge": "large"}
    assert refusal(judge).startswith(f"models.large.path: no folder '{tmp_path}/gone'")


def test_file_where_a_folder_is_needed_and_the_reverse_are_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    checkpoint = {"file": str(tmp_path), "tokenizer": str(file)}
    file_said, folder_said = refusals(study({"scorers.judge": {"checkpoint": checkpoint}}))
    assert file_said.startswith(f"scorers.judge.checkpoint.file: no file '{tmp_path}'")
    assert folder_said.startswith(f"scorers.judge.checkpoint.tokenizer: no folder '{file}'")


def test_missing_folder_of_a_model_that_only_a_method_names_is_refused(tmp_path):
    helped = {
        "models.expert": {"path": str(tmp_path / "gone")},
        "methods.dexperts": {"model": "expert"},
        "run.methods": ["merge", "dexperts"],
    }
    assert refusal(helped).startswith(f"models.expert.path: no folder '{tmp_path}/gone'")


def test_missing_files_of_training_texts_are_refused(tmp_path):
    gone = {"path": f"{tmp_path}/gone.csv"}
    found = refusals(
        study({"models.small.pretrain.texts": [gone], "scorers.judge.train.test.own": gone})
    )
    assert [sentence.split(".path:")[0] for sentence in found] == [
        "models.small.pretrain.texts",
        "scorers.judge.train",
    ]


def test_missing_file_that_no_run_uses_is_no_error():
    raw = study({"datasets.other": {"path": "/gone.csv"}, "models.other": {"path": "/gone"}})
    assert load_config(raw)


@pytest.mark.parametrize("path", ["$NOT_SET_HERE/x.csv", "${NOT_SET_HERE}/x.csv"])
def test_unset_environment_variable_in_a_path_is_refused(monkeypatch, path):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    found = refusal({"datasets.rude": {"path": path}})
    assert found.startswith("datasets.rude.path: the environment variable NOT_SET_HERE ")
    assert f"'{path}'" in found
    assert found.endswith("is not set; export NOT_SET_HERE=FOLDER")


def test_set_environment_variable_in_a_path_is_replaced(monkeypatch, tmp_path):
    (tmp_path / "x.csv").touch()
    monkeypatch.setenv("SET_HERE", str(tmp_path))
    config = load_config(study({"datasets.rude": {"path": "$SET_HERE/x.csv"}}))
    assert config.datasets["rude"].path == ["$SET_HERE/x.csv"]  # results do not name this machine


def given(*tunes, n=1):
    """Changes of a study that merges fine-tunes made elsewhere."""
    model = study()["models"]["small"] | {"fine_tunes": list(tunes)}
    merged = {"methods.merge_given": {"n": n}, "run.methods": ["merge_given"]}
    return {"models.small": model} | merged


def test_given_fine_tune_is_a_path_or_a_hub_id_at_a_revision(tmp_path):
    hub = {"hub": "a/b", "revision": HASH}
    config = load_config(study(given(str(tmp_path), hub, n=2)))
    tunes = config.models["small"].fine_tunes
    assert [(t.path, t.hub) for t in tunes] == [(str(tmp_path), None), (None, "a/b")]
    assert load_config(config.model_dump()) == config
    assert "needs `revision`" in refusal(given({"hub": "a/b"}))
    found = refusal(given(hub | {"revison": HASH}))
    assert found.endswith("fine_tunes.0.revison: unknown key; did you mean 'revision'?")
    assert "`fine_tunes` lists 'a/b' twice" in refusal(given(hub, hub))


def test_old_name_of_the_fine_tunes_is_refused_with_the_new_one():
    assert refusal({"models.small.shards": ["folder"]}) == (
        "models.small: the key `shards` is now called `fine_tunes`; rename it"
    )


def test_too_few_given_fine_tunes_are_refused():
    hub = {"hub": "a/b", "revision": HASH}
    assert refusal(given(n=[1, 3])) == (
        "models.small.fine_tunes: no fine-tunes made elsewhere, and a method takes the first 3; "
        "name more, or lower its n"
    )
    assert "1 fine-tune made elsewhere, and a method takes the first 2" in refusal(given(hub, n=2))


def test_missing_given_fine_tune_is_refused_if_an_edit_takes_it(tmp_path):
    gone = f"{tmp_path}/gone"
    found = refusal(given(gone))
    assert found.startswith(
        f"models.small.fine_tunes.0.path: no file or folder '{gone}'; mend the path"
    )
    assert "the environment variable NOT_SET_HERE of" in refusal(given("$NOT_SET_HERE/x"))
    load_config(study(given(str(tmp_path), gone)))
    load_config(study(given(gone) | {"run.methods": ["merge"]}))


# methods


def test_unknown_method_is_refused_with_the_nearest_one():
    found = refusal({"run.methods": ["merg"]})
    assert found == "run.methods.0: 'merg' is not among methods; did you mean 'merge'?"


def test_method_without_a_file_is_refused_with_the_nearest_one():
    found = refusal({"methods.marge": {"n": 1}})
    assert found == "methods.marge: no file edit/methods/marge.py; did you mean 'merge'?"


def test_typo_in_a_methods_parameter_is_answered_with_the_nearest_one():
    found = refusal({"methods.merge": {"n": 1, "opertor": "mean"}})
    assert found == "methods.merge.opertor: unknown parameter; did you mean 'operator'?"


@pytest.mark.parametrize(
    ("entry", "place", "words"),
    [
        ({"n": [1, 0]}, "n", "greater than or equal to 1, not 0"),
        ({"n": 2.5}, "n", "valid integer, not 2.5"),
        ({"n": 1, "operator": 3}, "operator", "valid string, not 3"),
        ({"n": 1, "operator": "ties", "density": 0.0}, "density", "greater than 0, not 0.0"),
        ({"n": 1, "operator": "ties", "density": "1e-1"}, "density", "is text to YAML"),
        ({"n": 1, "operator": "della"}, "layout", "missing; it has no default"),
        ([{"n": 1}, {"n": 0}], "1.n", "greater than or equal to 1, not 0"),
    ],
)
def test_methods_parameter_out_of_range_is_refused(entry, place, words):
    found = refusal({"methods.merge": entry})
    assert found.startswith(f"methods.merge.{place}: ")
    assert words in found


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"n": 5, "operator": "tie", "density": 0.5},
            ".operator: 'tie' is not among operators; did you mean 'ties'?",
        ),
        (
            {"n": 5, "operator": "ties", "densty": 0.5},
            ".densty: unknown parameter with operator ties; did you mean 'density'?",
        ),
        (
            {"n": 5, "density": 0.5},
            ".density: unknown parameter; valid: exclude, lines_alpha, lines_beta, n, operator, "
            "recipe",
        ),
        (
            [{"n": 1}, {"n": 5, "operator": ["ties", "median"], "density": 0.5}],
            ".1.density: unknown parameter with operator median; valid: exclude, lines_alpha, "
            "lines_beta, n, operator, recipe",
        ),
        (
            {"n": [5, 2], "operator": "snr"},
            ": operator snr estimates a variance: n must be 3 or more",
        ),
        (
            {"n": 2, "operator": "weighted", "weights": [[0.5, 0.25, 0.25]]},
            ": 2 task vectors need 2 weights, not 3",
        ),
        ({"n": 2, "lines_beta": 0.5}, ": lines_beta needs lines_alpha"),
        (
            [{"n": [1, 2]}, {"n": 2, "operator": "mean"}],
            ": a value is listed twice; leave one out",
        ),
        ([], ": an empty list sweeps nothing; give it a value"),
        ("ties", ": must be `parameter: value`, or a list of such entries, not 'ties'"),
        ([None], ": must be `parameter: value`, or a list of such entries, not [None]"),
    ],
)  # fmt: skip
def test_operator_that_cannot_be_is_refused_in_one_sentence(entry, sentence):
    assert refusal({"methods.merge": entry}) == f"methods.merge{sentence}"


def test_required_parameter_of_a_method_is_named():
    assert refusal({"methods.merge": None}).startswith("methods.merge.n: ")


def test_value_that_a_method_sweeps_twice_is_refused():
    found = refusal({"methods.merge": {"n": [1, 2, 1]}})
    assert found == "methods.merge: a value is listed twice; leave one out"


def test_empty_sweep_of_a_method_is_refused():
    found = refusal({"methods.merge": {"n": []}})
    assert found == "methods.merge: an empty list sweeps nothing; give it a value"


def test_unknown_recipe_named_by_a_method_is_refused_with_the_nearest_one():
    found = refusal({"methods.merge": {"n": 1, "recipe": "defautl"}})
    assert found == "methods.merge.recipe: 'defautl' is not among recipes; did you mean 'default'?"


def test_parameter_of_a_method_without_a_value_is_refused():
    found = refusal({"methods.merge": {"n": 1, "recipe": None}})
    assert found.startswith("methods.merge.recipe: ")


# `--config key=...`

RUN_TEXT = (
    "{models: [small], datasets: [rude], methods: [merge], seeds: ['7'], scales: ['0.5', 2], "
    "sweep: {prompts: [openings], corpora: [polite], scorers: [judge]}}"
)


def test_run_given_as_text_is_coerced():
    run = load_config(study({"run": RUN_TEXT})).run
    assert (run.seeds, run.scales, run.sweep.scorers) == ([7], [0.5, 2.0], ["judge"])


def given_with_config(**given):
    """A config as Snakemake merges `--config`, whose scalars it leaves as text."""
    raw = study()
    update_config(raw, given)
    return load_config(raw, command_line=given)


def test_values_that_config_gives_are_read_as_yaml():
    config = given_with_config(
        run={"seeds": ["1", "2"], "scales": "[0.5]", "final": "null"},
        methods={"merge": {"n": ["2", "4"]}},
        statistics={"confidence": "0.9"},
        recipes={"default": {"group_by_length": "false"}},
        results="2024",
        device="cpu",
    )
    assert (config.run.seeds, config.run.scales, config.run.final) == ([1, 2], [0.5], None)
    assert config.methods["merge"]["n"] == [2, 4]
    assert config.statistics.confidence == 0.9
    assert config.recipes["default"].group_by_length is False
    assert config.recipes["default"].epochs == 1  # of the file
    assert config.results == "2024"


def test_text_that_config_gives_stays_text():
    sampling = {"prefix": "Answer: politely ", "samples": "4"}
    config = given_with_config(
        prompts={"openings": {"generate": sampling, "text": "text"}},
        corpora={"polite": {"join": "\n\n"}},
    )
    generate = config.prompts["openings"].generate
    assert (generate.prefix, generate.samples) == ("Answer: politely ", 4)
    assert config.corpora["polite"].join == "\n\n"


def test_quoted_number_in_a_file_stays_text_beside_a_value_that_config_gives():
    raw = study({"prompts.openings.where": {"rating": "1"}, "methods.merge.n": "4"})
    given = {"prompts": {"openings": {"generate": {"samples": "4"}}}}
    update_config(raw, given)
    with pytest.raises(SystemExit, match=r"methods\.merge\.n: '4' is text to YAML"):
        load_config(raw, command_line=given)
    raw["methods"]["merge"]["n"] = 4
    assert load_config(raw, command_line=given).prompts["openings"].where == {"rating": "1"}


def test_run_given_as_text_is_checked():
    text = RUN_TEXT.replace("small", "smal").replace("'0.5'", "1.0e-1").replace(" 2]", " 0]")
    assert refusals(study({"run": text})) == [
        "run.models.0: 'smal' is not among models; did you mean 'small'?",
        "run.scales.1: must be a number above 0 (0 is the base model), not 0.0",
    ]


def test_number_without_a_dot_in_run_given_as_text_is_explained():
    found = refusal({"run": RUN_TEXT.replace("'0.5'", "1e-5")})
    assert found.startswith("run.scales.0: '1e-5' is text to YAML")


@pytest.mark.parametrize("key", ["run", "methods"])
def test_text_that_is_no_yaml_is_refused_in_one_sentence(key):
    assert refusal({key: "{models: [small"}).startswith(f"{key}: its text is not YAML")
    given = {key: {"models": "[small"}}
    with pytest.raises(SystemExit, match=rf"{key}\.models: its text is not YAML"):
        load_config(study({f"{key}.models": "[small"}), command_line=given)


# all at once


def test_all_errors_of_form_are_reported_at_once():
    found = refusals(
        study(
            {
                "bogus": 1,
                "recipes.default.learning_rate": "1e-5",
                "models.small": {"hub": "a/b"},
                "corpora.polite.stride_tokens": 64,
                "run.scales": 0.5,
            }
        )
    )
    places = {"bogus", "recipes.default.learning_rate", "models.small", "corpora.polite"}
    assert {sentence.split(":")[0] for sentence in found} == places | {"run.scales"}
    assert len(found) == 5


def test_all_errors_of_the_selection_are_reported_at_once():
    found = refusals(
        study({"run.models": ["smal"], "run.scales": [0, 0.0], "run.seeds": [-1], "methods.x": {}})
    )
    places = ["methods.x", "run.models.0", "run.scales.0", "run.scales.1"]
    assert sorted(sentence.split(":")[0] for sentence in found) == [*places, "run.seeds.0"]


def test_all_errors_of_methods_and_files_are_reported_at_once(tmp_path):
    found = refusals(
        study(
            {
                "methods.merge": {"n": 1, "recipe": "gone"},
                "models.small": {"path": f"{tmp_path}/gone"},
                "datasets.rude": {"path": f"{tmp_path}/gone.csv"},
            }
        )
    )
    places = ["methods.merge.recipe", "models.small.path", "datasets.rude.path"]
    assert [sentence.split(":")[0] for sentence in found] == places


def test_errors_of_selection_methods_and_files_are_reported_at_once():
    found = refusals(
        study(
            {
                "run.models": ["smal"],
                "methods.merge": {"n": 0},
                "datasets.rude": {"path": "/gone.csv"},
            }
        )
    )
    places = {"run.models.0", "methods.merge.n", "datasets.rude.path"}
    assert {sentence.split(":")[0] for sentence in found} == places


def test_errors_of_form_and_selection_are_reported_at_once():
    found = refusals(study({"recipes.default.epoch": 1, "run.models": ["smal"]}))
    places = {"recipes.default.epoch", "run.models.0"}
    assert {sentence.split(":")[0] for sentence in found} == places


# the hint itself


def test_hint_is_the_nearest_name_or_the_list_of_names():
    assert nearest("smal", ["small", "large"]) == "did you mean 'small'?"
    assert nearest("xyz", ["small", "large"]) == "valid: large, small"
    assert nearest("xyz", []) == "there is none"
