"""Base models: what fetch_model accepts, what its manifest says, and every way to be refused.

No model is built: a model folder is a config, a few numbers and a tokenizer of two words.
"""

import json

import huggingface_hub
import numpy as np
import pico
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from detoxmerge.errors import UserError
from detoxmerge.models.loading import fetch_model, input_first_weights
from detoxmerge.models.places import model_folder
from detoxmerge.storage.artefacts import read_json, sha256, write_json, write_manifest

HASH = "0123456789abcdef0123456789abcdef01234567"
HUB = {"hub": "owner/model", "revision": HASH, "path": None}


@pytest.fixture
def folder(tmp_path):
    """A complete model folder of six numbers."""
    made = tmp_path / "model"
    made.mkdir()
    write_json(made / "config.json", {"model_type": "gpt2"})
    save_file({"w": np.zeros((2, 3), np.float32)}, made / "model.safetensors")
    words = WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")
    Tokenizer(words).save(str(made / "tokenizer.json"))
    fast = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    write_json(made / "tokenizer_config.json", fast)
    return made


@pytest.fixture
def out(tmp_path):
    return tmp_path / "base" / "edit.json"


def local(folder):
    return {"version": 1, "hub": None, "revision": None, "path": str(folder)}


def refused(protocol, out):
    with pytest.raises(UserError) as error:
        fetch_model("small", protocol, None, out)
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_complete_folder_becomes_the_null_edit(folder, out):
    fetch_model("small", local(folder), None, out)
    found = json.loads(out.read_text())
    assert found["verb"] == "none"
    assert found["protocol"] == local(folder)
    assert found["num_parameters_stored"] == 6
    assert found["model"]["path"] == str(folder)
    assert found["model"]["sha256"] == {file.name: sha256(file) for file in folder.iterdir()}


def test_manifest_changes_with_the_weights(folder, out):
    fetch_model("small", local(folder), None, out)
    before = out.read_bytes()
    save_file({"w": np.ones((2, 3), np.float32)}, folder / "model.safetensors")
    fetch_model("small", local(folder), None, out)
    assert out.read_bytes() != before


def test_files_that_are_no_part_of_the_model_do_not_change_the_manifest(folder, out):
    fetch_model("small", local(folder), None, out)
    before = out.read_bytes()
    save_file({"v": np.ones(3, np.float32)}, folder / "value_head.safetensors")
    (folder / "consolidated.safetensors").write_text("not even safetensors")
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"w": "gone.safetensors"}})
    fetch_model("small", local(folder), None, out)
    assert out.read_bytes() == before


def test_config_that_transformers_cannot_read_is_refused(folder, out):
    write_json(folder / "config.json", {"model_type": "unheard-of"})
    said = refused(local(folder), out)
    assert said.startswith(f"models.small: transformers cannot read the config in '{folder}' (")


def test_manifest_certifies_every_file_that_the_tokenizer_may_consist_of(folder, out):
    for name in ("vocab.json", "merges.txt", "tokenizer.model"):
        (folder / name).write_text("{}")
    fetch_model("small", local(folder), None, out)
    certified = json.loads(out.read_text())["model"]["sha256"]
    assert {"vocab.json", "merges.txt", "tokenizer.model"} <= set(certified)


def test_variable_of_a_path_stays_in_the_manifest(monkeypatch, folder, out):
    monkeypatch.setenv("HERE", str(folder.parent))
    fetch_model("small", local("$HERE/model"), None, out)
    assert json.loads(out.read_text())["model"]["path"] == "$HERE/model"


def test_weights_in_several_files_are_counted_together(folder, out):
    (folder / "model.safetensors").unlink()
    for name, rows in (("a", 2), ("b", 5)):
        save_file({name: np.zeros((rows, 3), np.float32)}, folder / f"{name}.safetensors")
    index = {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    write_json(folder / "model.safetensors.index.json", index)
    fetch_model("small", local(folder), None, out)
    assert json.loads(out.read_text())["num_parameters_stored"] == 21


def test_model_that_was_trained_here_lies_beside_its_manifest(folder, out):
    pretrained = folder / "model.json"
    write_manifest(pretrained, protocol={}, inputs=[], files={})
    protocol = {"hub": None, "revision": None, "path": None}
    fetch_model("small", protocol, pretrained, out)
    found = json.loads(out.read_text())
    assert found["model"]["path"] == str(folder)
    assert found["inputs"] == {str(pretrained): sha256(pretrained)}


def test_unreachable_hub_is_refused_with_id_revision_and_a_way_out(monkeypatch, out):
    def snapshot_download(*_, **__):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    said = refused(HUB, out)
    assert said.startswith(f"the model owner/model at revision {HASH} could not be fetched")
    assert "(ConnectionError: no route)" in said
    assert "HF_TOKEN" in said
    assert "or replace, in models.small, `hub` and `revision` by `path`, a local copy" in said


def test_model_that_was_never_fetched_is_refused_on_a_machine_without_internet():
    """With the client's own look into its cache."""
    with pytest.raises(UserError) as error:
        model_folder({"hub": "no-such-owner/no-such-model", "revision": HASH})
    assert f"no-such-owner/no-such-model at revision {HASH}" in str(error.value)
    assert "`path`" in str(error.value)


def test_missing_folder_is_refused(tmp_path, out):
    said = refused(local(tmp_path / "gone"), out)
    assert said == f"no model folder '{tmp_path}/gone'; mend its path in the config"


def test_folder_without_config_is_refused(folder, out):
    (folder / "config.json").unlink()
    said = refused(local(folder), out)
    assert said == f"models.small: '{folder}' has no config.json; is it a model folder?"


def test_folder_with_pickled_weights_only_is_refused(folder, out):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    said = refused(local(folder), out)
    assert said.startswith(f"models.small: '{folder}' has no .safetensors file")
    assert "save_pretrained" in said


@pytest.mark.parametrize("kept", [0, 20, -5])
def test_truncated_weights_are_refused(folder, out, kept):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    said = refused(local(folder), out)
    assert f"{file} is truncated or no safetensors file" in said
    assert "fetch or make it again" in said


def test_missing_shard_of_the_index_is_refused(folder, out):
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    index = {"weight_map": {"w": "model-00001.safetensors", "x": "model-00002.safetensors"}}
    write_json(folder / "model.safetensors.index.json", index)
    said = refused(local(folder), out)
    assert said.startswith(f"models.small: '{folder}/model-00002.safetensors' is missing")


@pytest.mark.parametrize("content", ["", '{"weight_map": {"w": "model', "{}"])
def test_broken_index_is_refused(folder, out, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refused(local(folder), out)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_folder_without_tokenizer_is_refused(folder, out, kind):
    """For GPT-2 the library would make up a tokenizer that knows no word."""
    write_json(folder / "config.json", {"model_type": kind})
    for file in folder.glob("tokenizer*"):
        file.unlink()
    said = refused(local(folder), out)
    assert said.startswith(f"models.small: '{folder}' has no tokenizer that can be loaded")
    assert "tokenizer.json" in said


def test_broken_tokenizer_is_refused(folder, out):
    (folder / "tokenizer.json").write_text("{")
    assert "has no tokenizer that can be loaded" in refused(local(folder), out)


def test_only_the_matrices_of_conv1d_are_stored_input_first(gpt2_base, llama_base):
    found = input_first_weights(read_json(gpt2_base)["model"])
    names = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert found == {f"transformer.h.{i}.{name}.weight" for i in (0, 1) for name in names}
    shapes = {name: p.shape for name, p in pico.gpt2().named_parameters()}
    assert shapes["transformer.h.0.attn.c_attn.weight"] == (16, 48)
    assert input_first_weights(read_json(llama_base)["model"]) == set()


def test_what_the_study_cannot_read_is_found_before_the_manifest_is_written(folder, out):
    write_json(folder / "config.json", {"model_type": "gpt2", "n_positions": 77})
    known = []
    fetch_model("small", local(folder), None, out, known.append)
    assert known == [77]
    out.unlink()

    def refuse(context):
        raise UserError(f"a window is longer than {context}")

    with pytest.raises(UserError, match="a window is longer than 77"):
        fetch_model("small", local(folder), None, out, refuse)
    assert not out.exists()
    write_json(folder / "config.json", {"model_type": "gpt3"})
    with pytest.raises(UserError, match=r"models\.small: transformers cannot read the config in '"):
        fetch_model("small", local(folder), None, out, refuse)
