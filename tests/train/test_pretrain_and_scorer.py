"""A base model and a scorer trained on the spot: saved in the formats that others read."""

from pathlib import Path
from typing import Any

import numpy as np
import pico
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaForSequenceClassification

from detoxmerge.errors import UserError
from detoxmerge.models.classifier import Classifier
from detoxmerge.models.loading import fetch_model, load_model, load_tokenizer
from detoxmerge.models.scorers import fetch_scorer, load_scorer
from detoxmerge.models.scorers.checkpoint import load
from detoxmerge.models.scorers.train import TrainScorer
from detoxmerge.plan.entries import protocol
from detoxmerge.plan.training import Pretrain
from detoxmerge.storage.artefacts import read_json, sha256
from detoxmerge.train.job import Job
from detoxmerge.train.pretrain import pretrain_base
from detoxmerge.train.scorer import roc_auc, train_scorer

COMMENTS = {"generated": {"kind": "comments", "rows": 150, "seed": 1}}
SMALL = {"vocabulary": 400, "layers": 1, "width": 16, "heads": 2}


def pretrain_protocol(**changed: Any) -> dict[str, Any]:
    entry = {"texts": [COMMENTS], "context": 32, "steps": 12, "batch_size": 4}
    return protocol(Pretrain(**(SMALL | entry | changed)))


def scorer_protocol(**changed: Any) -> dict[str, Any]:
    test = {"generated": {"kind": "comments", "rows": 80, "seed": 2}}
    texts = [{"generated": {"kind": "comments", "rows": 500, "seed": 1}}]
    entry = {"texts": texts, "test": {"held-out": test}, "max_tokens": 32, "epochs": 4}
    return {"train": protocol(TrainScorer(**(SMALL | entry | {"learning_rate": 5e-3} | changed)))}


def test_the_base_is_an_ordinary_model_folder(tmp_path: Path) -> None:
    out = tmp_path / "pretrained" / "model.json"
    pretrain_base("m", pretrain_protocol(), Job(out))
    manifest = read_json(out)
    assert manifest["files"]["model.safetensors"] == sha256(out.with_name("model.safetensors"))
    base = tmp_path / "base" / "edit.json"
    fetch_model("m", {"hub": None, "revision": None, "path": None}, out, base)
    place = read_json(base)["model"]
    model, tokenizer = load_model(place), load_tokenizer(place)
    text = "The gardener's rose bed."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert model.config.max_position_embeddings == 32
    assert model.lm_head.weight is model.transformer.wte.weight
    assert not (out.parent / "work").exists()


def test_the_same_seed_pretrains_the_same_bytes(tmp_path: Path) -> None:
    sums = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / name / "model.json"
        pretrain_base("m", pretrain_protocol(seed=seed), Job(out))
        sums.append(read_json(out)["files"]["model.safetensors"])
    assert sums[0] == sums[1] != sums[2]


def test_too_little_text_is_one_sentence(tmp_path: Path) -> None:
    few = {"generated": {"kind": "comments", "rows": 2, "seed": 1}}
    with pytest.raises(UserError, match="do not fill a row of 512"):
        pretrain_base("m", pretrain_protocol(texts=[few], context=512), Job(tmp_path / "m"))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scorer") / "s" / "scorer.json"
    train_scorer("s", scorer_protocol(), Job(out))
    return out


def test_detoxify_itself_loads_the_scorer(scorer: Path) -> None:
    loaded = load_scorer(scorer, "cpu")
    assert isinstance(loaded, Classifier)
    assert type(loaded.detoxify).__module__ == "detoxify.detoxify"
    scores = loaded.predict(["You are a fool and an idiot.", "Thank you for the cake."])
    assert scores.keys() == {"toxicity"}
    assert all(0 <= s <= 1 for s in scores["toxicity"])
    measured = read_json(scorer)["test"]["held-out"]
    assert measured["roc_auc"] > 0.8
    assert measured["num_texts"] == 80
    assert measured["num_failed"] == 0


def test_a_local_checkpoint_is_found_by_its_paths(scorer: Path, tmp_path: Path) -> None:
    place = {"file": str(scorer.with_name("scorer.ckpt")), "tokenizer": str(scorer.parent)}
    place["tokenizer"] += "/tokenizer"
    out = tmp_path / "scorer.json"
    fetch_scorer("local", {"checkpoint": place}, out)
    assert read_json(out)["labels"] == ["toxicity"]
    texts = ["You are a fool.", "What a nice day."]
    assert load_scorer(out, "cpu").predict(texts) == load_scorer(scorer, "cpu").predict(texts)


def test_a_checkpoint_that_could_run_code_is_refused(scorer: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "was-run",))

    torch.save({"config": Evil(), "state_dict": {}}, tmp_path / "evil.ckpt")
    fields = {"checkpoint": str(tmp_path / "evil.ckpt"), "tokenizer": {"path": str(tmp_path)}}
    with pytest.raises(UserError, match="tensors and plain values"):
        load(fields, "cpu")
    assert not (tmp_path / "was-run").exists()


def test_a_checkpoint_like_the_released_ones_is_loaded(tmp_path: Path) -> None:
    """16 outputs, 7 of them named; an old buffer; the hub's config, which says 2 outputs."""
    folder = tmp_path / "roberta"
    folder.mkdir()
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(pico.texts(), 300, special_tokens=special, show_progress=False)
    bpe.save_model(str(folder))
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"vocab_size": 300, "intermediate_size": 32, "max_position_embeddings": 66}
    RobertaConfig(**shape).save_pretrained(folder)
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(RobertaConfig(num_labels=16, **shape)).eval()
    names = ["toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "x"]
    arch = {"model_type": "roberta-base", "model_name": "RobertaForSequenceClassification"}
    arch |= {"tokenizer_name": "RobertaTokenizer", "num_classes": 16}
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": names}}}
    state = dict(model.state_dict()) | {"roberta.embeddings.position_ids": torch.arange(66)[None]}
    torch.save({"config": config, "state_dict": state}, tmp_path / "released.ckpt")
    place = {"file": str(tmp_path / "released.ckpt"), "tokenizer": str(folder)}
    out = tmp_path / "s" / "scorer.json"
    fetch_scorer("s", {"checkpoint": place}, out)
    detoxify = load_scorer(out, "cpu")
    found = detoxify.predict(["You are a fool.", "Good morning to the gardener."])
    assert list(found) == names
    ids = detoxify.tokenizer(["You are a fool."], return_tensors="pt")
    wanted = torch.sigmoid(model(**ids).logits)[0, 0].item()
    assert found["toxicity"][0] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("cut", [10, 5000])
def test_a_truncated_checkpoint_is_one_sentence(scorer: Path, tmp_path: Path, cut: int) -> None:
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(scorer.with_name("scorer.ckpt").read_bytes()[:-cut])
    fields = {"checkpoint": str(broken), "tokenizer": {"path": str(scorer.parent / "tokenizer")}}
    with pytest.raises(UserError, match="is not a checkpoint that Detoxify can load"):
        load(fields, "cpu")


def test_a_test_set_of_one_class_is_refused_before_the_training(tmp_path: Path) -> None:
    one = {"own": {"generated": {"kind": "comments", "rows": 1, "seed": 2}}}
    job = Job(tmp_path / "scorer.json")
    with pytest.raises(UserError, match=r"both classes; scorers\.s\.train\.test\.own has"):
        train_scorer("s", scorer_protocol(test=one), job)
    assert list(tmp_path.iterdir()) == []


def test_roc_auc_by_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, toxic = rng.integers(0, 6, 60) / 5, rng.random(60) < 0.4
    pairs = scores[toxic][:, None] - scores[~toxic][None, :]
    assert roc_auc(scores, toxic) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    with pytest.raises(UserError, match="needs both classes"):
        roc_auc(scores, np.ones(60, bool))
