"""A weight under two names is one parameter: drawn once, counted once, left out under either."""

import json
from pathlib import Path
from typing import Any

import beside
import pico
import pytest
import torch
from merge.operator_cases import case_of
from merge.test_adapters_of_peft import tied_llama
from merge.test_names_of_releases import gemma, moved
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from detoxmerge.edit.methods import merge, merge_given
from detoxmerge.errors import UserError
from detoxmerge.merge.base import Base
from detoxmerge.merge.made_elsewhere import fetch_finetune, loaded_base
from detoxmerge.merge.merge_model import merge_model
from detoxmerge.models.loading import fetch_model
from detoxmerge.plan.registry import OPERATORS
from detoxmerge.train.finetune import write_delta
from detoxmerge.train.job import Job

FILE = "model.safetensors"
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
GPT2 = "transformer.wte.weight"
STORED = ("once", "twice", "head alone")


def stored(model: Any, folder: Path, how: str, embedding: str = EMBEDDING) -> Path:
    """Save a tied model with its embedding once, under both names, or as the head."""
    model.save_pretrained(folder)
    tensors = load_file(folder / FILE)
    if how != "once":
        tensors[HEAD] = tensors[embedding].clone()
    if how == "head alone":
        del tensors[embedding]
    save_file(tensors, folder / FILE, {"format": "pt"})
    return folder


def pair(folder: Path, base: str, tune: str) -> tuple[Path, list[Path]]:
    tunes = [
        stored(moved(tied_llama(), seed), folder / f"{tune}{seed}", tune) for seed in (3, 4, 5, 6)
    ]
    return stored(tied_llama(), folder / base, base), tunes


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_takes_it_for_one(tmp_path: Path, operator: str) -> None:
    module = OPERATORS[operator]
    params = module.Params(**case_of(operator).four)
    records, results = [], []
    for how in ("once", "twice", "head alone"):
        base, tunes = pair(tmp_path / how, how, how)
        out = tmp_path / f"out-{how}"
        records.append(merge_model(base, tunes, out, operator, params, scale=1))
        results.append(load_file(out / FILE))
    once, twice, alone = results
    assert torch.equal(twice[HEAD], twice[EMBEDDING])
    assert torch.equal(twice[HEAD], alone[HEAD])
    assert once.keys() | {HEAD} == twice.keys()
    for name, tensor in once.items():
        assert torch.equal(tensor, twice[name]), name
    for record in records[1:]:
        assert record["l2_norm"] == pytest.approx(records[0]["l2_norm"], rel=1e-12)
        assert record["num_moved_and_cast"] == records[0]["num_moved_and_cast"]
    assert records[0]["shard_l2_norms"] == records[1]["shard_l2_norms"]
    assert records[0]["facts"] == records[1]["facts"]


@pytest.mark.parametrize("base", STORED)
@pytest.mark.parametrize("tune", STORED)
def test_either_may_hold_it_under_either_name(tmp_path: Path, base: str, tune: str) -> None:
    folder, tunes = pair(tmp_path, base, tune)
    merge_model(folder, tunes[:1], tmp_path / "out", scale=1)
    assert load_file(tmp_path / "out" / FILE).keys() == load_file(folder / FILE).keys()
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert result.lm_head.weight is result.model.embed_tokens.weight
    before, after = tied_llama().state_dict(), moved(tied_llama(), 3).state_dict()
    for name, tensor in result.state_dict().items():
        torch.testing.assert_close(tensor, 2 * before[name] - after[name])


@pytest.mark.parametrize("base", STORED)
def test_it_is_left_out_under_either_name(tmp_path: Path, base: str) -> None:
    folder, tunes = pair(tmp_path, base, "once")
    before = load_file(folder / FILE)
    for part in ("lm_head", "embed_tokens"):
        out = tmp_path / f"out-{part}"
        merge_model(folder, tunes, out, "dare", scale=1, exclude=[part])
        result = load_file(out / FILE)
        for name, tensor in result.items():
            assert torch.equal(tensor, before[name]) == (name in (HEAD, EMBEDDING)), (part, name)


def test_a_fine_tune_in_which_the_two_differ_is_refused(tmp_path: Path) -> None:
    folder, (tune, *_) = pair(tmp_path, "once", "twice")
    tensors = load_file(tune / FILE)
    tensors[HEAD][3, 3] += 1
    save_file(tensors, tune / FILE)
    with pytest.raises(UserError, match=r"are one weight in the base, and differ in it"):
        merge_model(folder, [tune], tmp_path / "out", scale=1)
    merge_model(folder, [tune], tmp_path / "out", scale=1, exclude=["lm_head"])


@pytest.mark.parametrize("stated", [True, None])
def test_a_base_whose_config_ties_what_differs_is_refused(tmp_path: Path, stated: Any) -> None:
    """GPT-2's config need not say that it ties: transformers takes it for granted."""
    folder = stored(pico.gpt2(), tmp_path / "base", "twice", GPT2)
    pico.tokenizer().save_pretrained(folder)
    tensors = load_file(folder / FILE)
    tensors[HEAD][3, 3] += 1
    save_file(tensors, folder / FILE)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config.pop("tie_word_embeddings", None)
    file.write_text(json.dumps(config | ({} if stated is None else {"tie_word_embeddings": True})))
    said = r"are one weight \(tie_word_embeddings\), and its files hold two that differ"
    with pytest.raises(UserError, match=said):
        merge_model(folder, [folder], tmp_path / "out", scale=1)
    place = {"version": 1, "hub": None, "revision": None, "path": str(folder)}
    with pytest.raises(UserError, match=said):
        fetch_model("m", place, None, tmp_path / "edit.json")
    file.write_text(json.dumps(config | {"tie_word_embeddings": False}))
    merge_model(folder, [folder], tmp_path / "out", scale=1)


def test_equal_bytes_of_untied_weights_are_two_parameters(tmp_path: Path) -> None:
    """A head that began as a copy of the embedding, and went its own way in the fine-tune."""
    base, tune = pico.llama(), moved(pico.llama(), 1)
    for model in (base, tune):
        with torch.no_grad():
            model.lm_head.weight.copy_(pico.llama().model.embed_tokens.weight)
    with torch.no_grad():
        tune.lm_head.weight.add_(0.5)
    base.save_pretrained(tmp_path / "base")
    tune.save_pretrained(tmp_path / "tune")
    merge_model(tmp_path / "base", [tmp_path / "tune"], tmp_path / "out", scale=1)
    result, before = load_file(tmp_path / "out" / FILE), load_file(tmp_path / "base" / FILE)
    torch.testing.assert_close(result[HEAD], before[HEAD] - 0.5)


def test_without_transformers_an_embedding_saved_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the head, too, which PEFT leaves as it was; nobody can tell."""
    folder = stored(tied_llama(), tmp_path / "base", "once")
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    get_peft_model(tied_llama(), config).save_pretrained(tmp_path / "lora")
    monkeypatch.setattr(Base, "library", None)
    with pytest.raises(UserError, match="may be the base's output head, too; install transf"):
        merge_model(folder, [tmp_path / "lora"], tmp_path / "out", scale=1)


def test_without_transformers_it_is_said_that_only_stored_names_are_excluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, tunes = pair(tmp_path, "once", "once")
    monkeypatch.setattr(Base, "library", None)
    merge_model(folder, tunes, tmp_path / "none", scale=1)
    assert "exclude" not in capsys.readouterr().out
    merge_model(folder, tunes, tmp_path / "out", scale=1, exclude=["embed_tokens"])
    assert "only under the names that the base's files have" in capsys.readouterr().out


@pytest.mark.parametrize("how", STORED)
def test_the_workflow_takes_it_for_one(tmp_path: Path, how: str) -> None:
    folder, tunes = pair(tmp_path, how, "twice")
    pico.tokenizer().save_pretrained(folder)
    place = {"version": 1, "hub": None, "revision": None, "path": str(folder)}
    fetch_model("m", place, None, tmp_path / "base.json")
    base, metas = tmp_path / "base.json", [tmp_path / f"{i}" / "meta.json" for i in range(4)]
    for meta, tune in zip(metas, tunes, strict=True):
        fetch_finetune("models.m.fine_tunes.0", place | {"path": str(tune)}, base, meta)
    assert list(loaded_base(base).weights.layout) == sorted(dict(tied_llama().named_parameters()))
    for part in ("lm_head", "embed_tokens"):
        params = merge_given.Params(n=4, exclude=[part])
        record = merge_given.build([base, *metas], params, Job(tmp_path / part / "edit.json"))
        assert record["tensors"]["excluded"] == [EMBEDDING]


def test_vectors_of_the_workflow_know_the_other_name(tmp_path: Path) -> None:
    base, tune = tied_llama(), moved(tied_llama(), 3)
    before = {name: p.detach() for name, p in base.named_parameters()}
    write_delta(tune, before, tmp_path / "shard0" / "delta.safetensors")
    beside.manifest(tmp_path / "shard0" / "meta.json", "delta.safetensors")
    for part in ("lm_head", "embed_tokens"):
        record = merge.build(
            [tmp_path / "shard0" / "meta.json"],
            merge.Params(n=1, exclude=[part]),
            Job(tmp_path / part / "edit.json"),
        )
        assert record["tensors"]["excluded"] == [EMBEDDING]


def test_equal_matrices_that_are_no_embeddings_are_not_tied(tmp_path: Path) -> None:
    """Layers that begin with zeros, in a model with as many tokens as it is wide."""

    def make(seed: int | None = None) -> LlamaForCausalLM:
        config = pico.llama().config.to_dict() | {"tie_word_embeddings": True, "vocab_size": 16}
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig.from_dict(config))
        for layer in model.model.layers:
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        return moved(model, seed)

    make().save_pretrained(tmp_path / "base")
    make(3).save_pretrained(tmp_path / "tune")
    merge_model(tmp_path / "base", [tmp_path / "tune"], tmp_path / "out", scale=1)
    before, after = make().state_dict(), make(3).state_dict()
    for name, tensor in LlamaForCausalLM.from_pretrained(tmp_path / "out").state_dict().items():
        torch.testing.assert_close(tensor, 2 * before[name] - after[name])


@pytest.mark.parametrize("top", [True, False, None])
@pytest.mark.parametrize("nested", [True, False, None])
def test_of_nested_configs_the_one_that_transformers_reads_decides(
    tmp_path: Path, top: bool | None, nested: bool | None
) -> None:
    for name, seed in (("base", None), ("tune", 1)):
        gemma(seed).save_pretrained(tmp_path / name)
        tensors = load_file(tmp_path / name / FILE)
        (embedding,) = (n for n in tensors if n.endswith("embed_tokens.weight"))
        head = embedding.replace("model.embed_tokens", "lm_head")
        save_file(
            tensors | {head: tensors[embedding].clone()}, tmp_path / name / FILE, {"format": "pt"}
        )
        config = json.loads((tmp_path / name / "config.json").read_text())
        for part, stated in ((config, top), (config["text_config"], nested)):
            part.pop("tie_word_embeddings", None)
            part |= {} if stated is None else {"tie_word_embeddings": stated}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    load = Gemma3ForConditionalGeneration.from_pretrained
    loaded = load(tmp_path / "base")
    tied = loaded.lm_head.weight is loaded.get_input_embeddings().weight
    merge_model(tmp_path / "base", [tmp_path / "tune"], tmp_path / "out", "dare", scale=1)
    result = load_file(tmp_path / "out" / FILE)
    assert torch.equal(result[head], result[embedding]) == tied


@pytest.mark.parametrize("part", ["shared", "decoder.embed_tokens", "lm_head"])
@pytest.mark.parametrize("how", ["once", "thrice"])
def test_three_names_of_one_weight_are_left_out_together(
    tmp_path: Path, part: str, how: str
) -> None:
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    for name, seed in (("base", None), ("tune", 1)):
        torch.manual_seed(0)
        moved(T5ForConditionalGeneration(config), seed).save_pretrained(tmp_path / name)
        if how == "thrice":
            tensors = load_file(tmp_path / name / FILE)
            others = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
            tensors |= {other: tensors["shared.weight"].clone() for other in others}
            save_file(tensors, tmp_path / name / FILE, {"format": "pt"})
    out = tmp_path / "out"
    merge_model(tmp_path / "base", [tmp_path / "tune"], out, scale=1, exclude=[part])
    before, result = load_file(tmp_path / "base" / FILE), load_file(out / FILE)
    kept = {name for name in result if torch.equal(result[name], before[name])}
    assert kept == {n for n in result if n == "shared.weight" or "embed_tokens" in n}
