"""The card says what the manifest holds, in words that stand for themselves."""

from pathlib import Path

import pytest
import yaml
from plan import studies

from detoxmerge.plan.catalogue import Corpus, Dataset
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.report.model_card import model_card
from detoxmerge.report.study import study_of
from detoxmerge.storage.artefacts import write_json

HUB = {"hub": "owner/data", "revision": studies.HASH, "splits": ["train"]}


def content(**changes):
    """What a manifest holds, with some values replaced."""
    measured = [
        ("openings", "judge", "toxicity_mean", 0.12345, 0.5),
        ("openings", "judge", "num_prompts", 30, 30),
        ("openings", "judge", "num_failed", 2, 0),
        ("polite", None, "perplexity_per_token", None, 20.5),
    ]
    names = ("measured_on", "scorer", "metric", "edited", "base")
    study = {
        "base": {"hub": "owner/model", "words": "`owner/model`", "sha256": {"m": "abc"}},
        "model": "small",
        "method": "merge",
        "label": "merged task vectors",
        "reference": "Kim et al., COLM 2024",
        "about": "The mean.\n\nSecond paragraph.",
        "setting": "n=4",
        "params": {"n": 4, "recipe": "short"},
        "seed": "42",
        "sign": -1,
        "recipe": {"epochs": 3, "learning_rate": 1e-5},
        "given": [],
        "data": {
            "alias": "rude",
            "hub": "owner/data",
            "source": "`owner/data`",
            "score": "toxicity",
            "toxic_above": 0.8,
            "num_toxic": 1234,
            "partition_seed": 7,
        },
        "prompts": {
            "openings": {
                "source": "30 prompts",
                "samples": 5,
                "new_tokens": 20,
                "temperature": 1.0,
                "top_p": 0.9,
                "top_k": 0,
                "prefix": "",
                "seed": 9,
            }
        },
        "corpora": {"polite": "polite text"},
        "scorers": {"judge": "Detoxify `unbiased`; label `toxicity`"},
        "measured_dtype": "float32",
    }
    return {
        "scale": "0.5",
        "selection": None,
        "study": study,
        "license": {"license": "mit", "told_by": "LICENSE"},
        "measured": [dict(zip(names, row, strict=True)) for row in measured],
        "weights": {"dtype": "float32", "num_probe_tokens": 60},
        "transformers": "5.0",
    } | changes


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_header_names_base_licence_and_data():
    fields = header(model_card(content()))
    assert fields["base_model"] == "owner/model"
    assert fields["license"] == "mit"
    assert fields["datasets"] == ["owner/data"]
    assert fields["library_name"] == "transformers"
    assert "detoxification" in fields["tags"]
    assert "told_by" not in fields


def test_local_base_and_data_are_given_no_id():
    """An id of the hub that happens to be spelled alike is another model."""
    local = content()
    local["study"]["base"] |= {"hub": None, "words": "the local folder `gpt2`"}
    local["study"]["data"]["hub"] = None
    text = model_card(local)
    assert not {"base_model", "datasets"} & set(header(text))
    assert "- Base model: the local folder `gpt2`." in text


def test_unknown_licence_is_said_to_be_unknown():
    unknown = {"license": "other", "license_name": "unknown", "told_by": None}
    text = model_card(content(license=unknown))
    assert header(text)["license"] == "other"
    assert header(text)["license_name"] == "unknown"
    assert "Unknown: neither a model card nor a LICENSE file" in text


def test_every_number_stands_beside_the_bases():
    text = model_card(content())
    for line in (
        "| toxicity mean, `openings` by `judge` | 0.1235 | 0.5 |",
        "| perplexity per token, `polite` | missing | 20.5 |",
        "| toxicity mean | 0.1235 | 0.5 |",
        "| number of prompts | 30 | 30 |",
        "| number of failed | 2 | 0 |",
        "### Toxicity on `openings`, scored by `judge`",
        "### Perplexity on `polite`",
    ):
        assert f"\n{line}\n" in text


def test_making_is_told_with_formula_setting_recipe_and_seeds():
    text = model_card(content())
    for words in (
        "    theta = theta_0 - 0.5 * delta\n",
        "> The mean.\n>\n> Second paragraph.\n",
        "- Setting: n = 4, recipe = short.",
        "- Scale: 0.5, set by hand.",
        "Its 1234 texts with `toxicity` > 0.8 are the toxic ones; partition seed 7.",
        "- Fine-tuning of the model on each shard: epochs = 3, learning_rate = 1e-05.",
        "- Training seed: 42.",
        "samples = 5, new_tokens = 20, temperature = 1.0, top_p = 0.9, top_k = 0, prefix = none",
        "max_new_tokens=20, do_sample=True, temperature=1.0, top_p=0.9, top_k=0)",
    ):
        assert words in text


def test_vector_that_is_added_has_a_plus():
    added = content()
    added["study"]["sign"] = 1
    assert "theta = theta_0 + 0.5 * delta" in model_card(added)


def test_method_without_data_seed_and_recipe_tells_none():
    bare = content()
    bare["study"] |= {"data": None, "recipe": None, "seed": "-"}
    text = model_card(bare)
    assert not any(word in text for word in ("Data set `", "Fine-tuning", "Training seed"))


def test_loading_of_the_card_is_python():
    code = model_card(content()).split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")


def test_study_of_an_edit_is_that_of_config_and_manifests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = Grid(load_config(studies.study({"split.seed": 5, "recipes.default": {"epochs": 9}})))
    edit, p = grid.edits[1], grid.paths
    checksums = {"model.safetensors": "abc", "config.json": "def"}
    write_json(make(p.base.format(model="small")), {"model": {"sha256": checksums}})
    write_json(make(p.dataset.format(dataset="rude")), {"counts": {"num_toxic": 77}})
    write_json(make(p.edit.format(**vars(edit))), {"sign": -1})
    study_content = study_of(grid, edit)
    assert study_content["params"]["n"] == 2
    assert study_content["about"].startswith(
        "The mean of the N task vectors, negated: theta = theta_0 - "
    )
    assert study_content["recipe"]["epochs"] == 9
    assert "checkpoint_minutes" not in study_content["recipe"]  # decides no number
    assert (study_content["data"]["num_toxic"], study_content["data"]["partition_seed"]) == (77, 5)
    assert study_content["base"]["hub"] is None
    assert "trained itself" in study_content["base"]["words"]
    assert study_content["base"]["sha256"] == {"model.safetensors": "abc"}
    assert study_content["prompts"]["openings"]["samples"] == 25
    assert study_content["scorers"]["judge"].endswith("seed 1; label `toxicity`")


def test_study_of_another_operator_tells_of_that_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"methods.merge": {"n": 2, "operator": "ties", "density": 0.5}}
    grid = Grid(load_config(studies.study(changes)))
    (edit,), p = grid.edits, grid.paths
    write_json(make(p.base.format(model="small")), {"model": {"sha256": {}}})
    write_json(make(p.dataset.format(dataset="rude")), {"counts": {"num_toxic": 77}})
    write_json(make(p.edit.format(**vars(edit))), {"sign": -1})
    study_content = study_of(grid, edit)
    assert study_content["about"].startswith("TIES: trim, elect a sign")
    assert study_content["reference"] == "Yadav et al., NeurIPS 2023"
    assert study_content["label"] == "merged task vectors"
    assert study_content["params"] == {
        "n": 2,
        "operator": "ties",
        "density": 0.5,
        "recipe": "default",
    }


def test_given_fine_tunes_are_told_with_their_checksums(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "folder" / "mine"
    folder.mkdir(parents=True)
    pin = {"hub": "owner/tune", "revision": "0" * 40}
    model = studies.study()["models"]["small"] | {"fine_tunes": [str(folder), pin]}
    changes = {"models.small": model, "methods.merge_given": {"n": 2}}
    grid = Grid(load_config(studies.study(changes | {"run.methods": ["merge_given"]})))
    (edit,), p = grid.edits, grid.paths
    write_json(make(p.base.format(model="small")), {"model": {"sha256": {}}})
    write_json(make(p.edit.format(**vars(edit))), {"sign": -1})
    for index, (kind, place) in enumerate([("model", {"path": str(folder)}), ("adapter", pin)]):
        meta = {"kind": kind, "place": place | {"sha256": {"w.safetensors": f"abc{index}"}}}
        write_json(make(p.given_finetune.format(model="small", finetune=index)), meta)
    text = model_card(content(study=content()["study"] | study_of(grid, edit)))
    assert "- Fine-tune made elsewhere: model `mine`, a local copy.\n" in text
    assert str(folder) not in text
    assert f"adapter `owner/tune` at revision `{'0' * 40}`.\n  SHA-256 of its `w.saf" in text
    assert "`abc1`" in text


def make(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (HUB | {"subset": "raw"}, f"`owner/data` (raw), train, at `{studies.HASH}`"),
        ({"path": ["/home/me/a.csv", "b.csv"]}, "local `a.csv`, `b.csv`"),
        (
            studies.comments(where={"tone": "polite"}, sample={"rows": 3, "seed": 8}),
            "20 comments of the workflow's own generator, seed 1, where tone is polite, a sample "
            "of 3 rows, seed 8",
        ),
    ],
)
def test_source_is_told_without_folders_of_this_machine(entry, words):
    assert Corpus(**entry).words() == Dataset(**entry).words() == words


def test_selection_is_told_with_its_reason():
    text = model_card(content(selection={"selector": "budget", "reason": "largest within 5 %"}))
    assert "- Scale: 0.5, chosen by the rule `budget`: largest within 5 %." in text
