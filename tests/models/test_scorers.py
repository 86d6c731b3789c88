"""Toxicity scorers: fetched by checksum, read without running code, refused in one sentence.

No scorer is built: Detoxify itself is replaced by a stand-in that keeps what it was given.
"""

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.error import URLError

import huggingface_hub
import pytest
import torch

from detoxmerge.errors import UserError
from detoxmerge.models.scorers import detoxify, fetch_scorer
from detoxmerge.models.scorers.checkpoint import load
from detoxmerge.storage.artefacts import sha256

BYTES = b"a checkpoint"
CONFIG = hashlib.sha256(b'{"model_type": "roberta"}').hexdigest()
PREFIX = hashlib.sha256(BYTES).hexdigest()[:8]
UNBIASED = {"version": 1, "detoxify": "unbiased"}


@pytest.fixture(autouse=True)
def given(monkeypatch, tmp_path):
    """What Detoxify was given, if it was called; the real one takes seconds to import."""
    calls = []
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')

    def stand_in(*, checkpoint, huggingface_config_path, device):
        kept, view = torch.load(checkpoint, weights_only=True), Path(huggingface_config_path)
        seen = {"view": str(view), "names": {path.name for path in view.iterdir()}}
        seen["config"] = json.loads((view / "config.json").read_text())
        calls.append(SimpleNamespace(kept=kept, device=device, **seen))
        return SimpleNamespace(class_names=["toxicity", "insult"], model=None, tokenizer=None)

    module = ModuleType("detoxify")
    module.Detoxify = stand_in
    monkeypatch.setitem(sys.modules, "detoxify", module)
    return calls


@pytest.fixture
def variant(monkeypatch):
    """The unbiased variant, with the checksum of `BYTES`."""
    known = detoxify.VARIANTS["unbiased"] | {"sha256_prefix": PREFIX}
    monkeypatch.setitem(detoxify.VARIANTS, "unbiased", known)
    return known


@pytest.fixture
def out(tmp_path):
    (tmp_path / "scorer").mkdir()
    return tmp_path / "scorer" / "scorer.json"


def save(path, content=None):
    """A checkpoint in Detoxify's form."""
    arch = {"args": {"model_type": "roberta-base", "num_classes": 2}}
    torch.save(content or {"config": {"arch": arch}, "state_dict": {"w": torch.ones(2)}}, path)
    return path


def local(file, tokenizer):
    place = {"file": str(file), "tokenizer": str(tokenizer)}
    return {"version": 1, "checkpoint": place}


def download(monkeypatch, effect):
    """Replace the download of a checkpoint."""
    monkeypatch.setattr(torch.hub, "download_url_to_file", effect)


def refused(protocol, out):
    with pytest.raises(UserError) as error:
        fetch_scorer("judge", protocol, out)
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def raises(error):
    def effect(*_, **__):
        raise error

    return effect


@pytest.mark.parametrize(
    "error", [URLError("no route"), TimeoutError("no route"), RuntimeError("no route: hash")]
)
def test_unreachable_checkpoint_is_refused_with_its_address_and_a_way_out(
    monkeypatch, variant, out, error
):
    download(monkeypatch, raises(error))
    said = refused(UNBIASED, out)
    assert said.startswith(f"the checkpoint {variant['url']} could not be fetched (")
    assert "no route" in said
    assert "replace, in scorers.judge, `detoxify` by `checkpoint: {file: ..., tokenizer" in said
    assert list(out.parent.iterdir()) == []


def test_half_a_download_leaves_no_file(monkeypatch, variant, out):
    def half(url, path, **_):
        with open(path, "wb") as file:
            file.write(BYTES[:4])
        raise URLError("reset")

    download(monkeypatch, half)
    refused(UNBIASED, out)
    assert list(out.parent.iterdir()) == []


def test_unreachable_tokenizer_is_refused_with_id_revision_and_a_way_out(monkeypatch, variant, out):
    out.with_name("checkpoint.ckpt").write_bytes(BYTES)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", raises(ConnectionError("no route")))
    said = refused(UNBIASED, out)
    assert f"tokenizer {variant['hub']} at revision {variant['revision']} could not be" in said
    # a scorer's entry has neither `hub` nor `path`
    assert "`checkpoint" in said
    assert "`path`" not in said


def test_checkpoint_with_the_right_checksum_is_not_fetched_again(monkeypatch, variant, out):
    out.with_name("checkpoint.ckpt").write_bytes(BYTES)
    download(monkeypatch, raises(AssertionError("fetched again")))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", raises(ConnectionError("stop here")))
    assert "stop here" in refused(UNBIASED, out)


def test_checkpoint_with_another_checksum_is_fetched_again(monkeypatch, variant, out):
    out.with_name("checkpoint.ckpt").write_bytes(b"of another release")
    download(monkeypatch, raises(URLError("fetched again")))
    assert "fetched again" in refused(UNBIASED, out)


def test_fetched_checkpoint_is_pinned_and_recorded(monkeypatch, tmp_path, out, given):
    source = save(tmp_path / "source.ckpt")
    known = detoxify.VARIANTS["unbiased"] | {"sha256_prefix": sha256(source)[:8]}
    monkeypatch.setitem(detoxify.VARIANTS, "unbiased", known)
    asked = []

    def fetch(url, path, hash_prefix, progress):
        asked.append((url, hash_prefix))
        with open(path, "wb") as file:
            file.write(source.read_bytes())

    def snapshot_download(hub, *, revision, **_):
        asked.append((hub, revision))
        return str(tmp_path)

    download(monkeypatch, fetch)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    fetch_scorer("judge", UNBIASED, out)
    assert asked[:2] == [
        (known["url"], known["sha256_prefix"]),
        (known["hub"], known["revision"]),
    ]
    found = json.loads(out.read_text())
    assert found["files"] == {"checkpoint.ckpt": sha256(source)}
    assert found["labels"] == ["toxicity", "insult"]
    assert found["kind"] == "detoxify"
    place = {"hub": known["hub"], "revision": known["revision"]}
    assert found["tokenizer"] == place | {"sha256": {"config.json": CONFIG}}
    assert found["protocol"] == UNBIASED


def test_local_checkpoint_is_referred_to_and_not_copied(monkeypatch, tmp_path, out, given):
    monkeypatch.setenv("HERE", str(tmp_path))
    file = save(tmp_path / "own.ckpt")
    fetch_scorer("judge", local("$HERE/own.ckpt", "$HERE"), out)
    found = json.loads(out.read_text())
    assert found["checkpoint"] == "$HERE/own.ckpt"
    assert found["tokenizer"] == {"path": "$HERE", "sha256": {"config.json": CONFIG}}
    assert found["files"] == {"own.ckpt": sha256(file)}
    assert [path.name for path in out.parent.iterdir()] == ["scorer.json"]
    assert given[0].names == {path.name for path in tmp_path.iterdir()}


def test_detoxify_gets_a_copy_that_looks_for_nothing_on_the_hub(tmp_path, given):
    file = save(tmp_path / "own.ckpt")
    before = sha256(file)
    fields = {"checkpoint": str(file), "tokenizer": {"path": str(tmp_path)}}
    load(fields, "cpu")
    (call,) = given
    assert call.kept["config"]["arch"]["args"]["model_type"] == call.view
    assert call.config["model_type"] == "roberta"
    assert call.config["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}
    assert not Path(call.view).exists()
    assert call.kept["state_dict"]["w"].tolist() == [1, 1]
    assert call.device == "cpu"
    assert sha256(file) == before


def test_missing_checkpoint_is_refused(tmp_path, out):
    said = refused(local(tmp_path / "gone.ckpt", tmp_path), out)
    assert said == (
        f"scorers.judge.checkpoint.file: no file '{tmp_path}/gone.ckpt'; mend its path in the "
        "config"
    )


def test_truncated_checkpoint_is_refused(tmp_path, out, given):
    file = save(tmp_path / "own.ckpt")
    file.write_bytes(file.read_bytes()[:-200])
    said = refused(local(file, tmp_path), out)
    assert said.startswith(f"{file} (with the tokenizer in {tmp_path}) is not a checkpoint that ")
    assert "fetch it again" in said
    assert given == []


@pytest.mark.parametrize(
    "content", [{"state_dict": {}}, {"config": {"arch": {}}, "state_dict": {}}, [1, 2]]
)
def test_checkpoint_of_another_form_is_refused(tmp_path, out, given, content):
    said = refused(local(save(tmp_path / "own.ckpt", content), tmp_path), out)
    assert "is not a checkpoint that Detoxify can load" in said
    assert given == []


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_checkpoint_that_would_run_code_is_refused_before_it_does(tmp_path, out, given):
    mark = tmp_path / "ran"
    file = save(tmp_path / "own.ckpt", {"config": Harmful(mark), "state_dict": {}})
    said = refused(local(file, tmp_path), out)
    assert "tensors and plain values" in said
    assert not mark.exists()
    assert given == []


def test_tokenizer_that_was_never_fetched_is_refused_where_there_is_no_internet(tmp_path):
    """As in a scoring job on a compute node, with the client's own look into its cache."""
    place = {"hub": "no-such-owner/no-such-model", "revision": "0" * 40}
    fields = {"checkpoint": str(save(tmp_path / "own.ckpt")), "tokenizer": place}
    with pytest.raises(UserError, match="no-such-owner/no-such-model"):
        load(fields, "cpu")
