"""The same parameter under the names of its files, of the loaded model, and of wrappers."""

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pico
import pytest
import torch
from models.test_architectures import TYPES, USUAL
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    SiglipVisionConfig,
)

from detoxmerge.edit.methods import merge_given
from detoxmerge.errors import UserError
from detoxmerge.merge.base import Base
from detoxmerge.merge.made_elsewhere import fetch_finetune
from detoxmerge.merge.merge_model import merge_model
from detoxmerge.storage.artefacts import write_manifest
from detoxmerge.train.job import Job

FILE = "model.safetensors"
NOT_MADE = "was not made from this base"
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
MORE: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "codegen": {"n_embd": 16, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 64},
    "gemma": USUAL | {"head_dim": 8},
    "gemma2": USUAL | {"head_dim": 8},
    "gemma3_text": USUAL | {"head_dim": 8},
    "gpt_bigcode": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "granite": USUAL,
    "mamba": {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    "mixtral": USUAL | EXPERTS,
    "olmo2": USUAL,
    "stablelm": USUAL,
    "starcoder2": USUAL,
    "xglm": {"d_model": 16, "ffn_dim": 24, "num_layers": 2, "attention_heads": 2},
}
KINDS = {**{kind: given for kind, (given, _) in TYPES.items()}, **MORE}


def build(kind: str, seed: int | None = None) -> Any:
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, vocab_size=300, **special, **KINDS[kind])
    return moved(AutoModelForCausalLM.from_config(config).eval(), seed)


def gemma(seed: int | None = None) -> Any:
    """With images: its files have other names than the model that is loaded."""
    torch.manual_seed(0)
    text = Gemma3TextConfig(**USUAL | {"head_dim": 8}, vocab_size=300)
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        image_size=28, patch_size=14,
    )  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return moved(Gemma3ForConditionalGeneration(config).eval(), seed)


def moved(model: Any, seed: int | None) -> Any:
    if seed is not None:
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape))
    return model


def rename(folder: Path, names: Callable[[str], str]) -> None:
    tensors = load_file(folder / FILE)
    save_file({names(n): t for n, t in tensors.items()}, folder / FILE, {"format": "pt"})


def as_loaded(model: Any, folder: Path) -> None:
    """Save a model under the names that it has in memory."""
    model.save_pretrained(folder)
    tensors = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    save_file(tensors, folder / FILE, {"format": "pt"})


def renamed(folder: Path) -> bool:
    """Whether the files of `base-file` and `base-loaded` have other names."""
    ours, theirs = (load_file(folder / f"base-{how}" / FILE) for how in ("file", "loaded"))
    return ours.keys() != theirs.keys()


def require_right(out: Path, base: Any, tune: Any) -> None:
    """2 base - tune in every parameter."""
    result = type(base).from_pretrained(out)
    before, after = (dict(m.named_parameters()) for m in (base, tune))
    for name, found in result.named_parameters():
        wanted = 2 * before[name].detach() - after[name].detach()
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", [*KINDS, "gemma3"])
def test_files_of_either_release_are_merged(tmp_path: Path, kind: str) -> None:
    def make(seed: int | None = None) -> Any:
        return gemma(seed) if kind == "gemma3" else build(kind, seed)

    for name, seed in (("base", None), ("tune", 1)):
        make(seed).save_pretrained(tmp_path / f"{name}-file")
        as_loaded(make(seed), tmp_path / f"{name}-loaded")
    forms = ("file", "loaded") if renamed(tmp_path) else ("file",)
    for base in (f"base-{form}" for form in forms):
        for tune in (f"tune-{form}" for form in forms):
            out = tmp_path / f"{base}{tune}"
            # experts are many tensors in the files and one in the model
            unlike = kind == "mixtral" and base[-4:] != tune[-4:]
            with pytest.raises(UserError, match=NOT_MADE) if unlike else nullcontext():
                merge_model(tmp_path / base, [tmp_path / tune], out, scale=1)
            if not unlike:
                require_right(out, make(), make(1))


@pytest.mark.parametrize("kind", KINDS)
def test_merge_given_takes_what_the_command_takes(tmp_path: Path, kind: str) -> None:
    base = pico.base(build(kind), tmp_path)
    build(kind, 1).save_pretrained(tmp_path / "tune")
    place = {"version": 1, "hub": None, "revision": None, "path": str(tmp_path / "tune")}
    meta = tmp_path / "meta.json"
    if kind == "mixtral":
        with pytest.raises(UserError, match=r"can be merged by `detoxmerge merge` only$"):
            fetch_finetune("models.m.fine_tunes.0", place, base, meta)
        return
    fetch_finetune("models.m.fine_tunes.0", place, base, meta)
    merge_given.build([base, meta], merge_given.Params(n=1), Job(tmp_path / "edit.json"))
    delta, before = load_file(tmp_path / "delta.safetensors"), dict(build(kind).named_parameters())
    after = dict(build(kind, 1).named_parameters())
    assert delta.keys() == before.keys()
    for name, tensor in delta.items():
        torch.testing.assert_close(tensor, after[name].detach() - before[name].detach())


@pytest.mark.parametrize("kind", [*KINDS, "gemma3"])
def test_adapters_are_merged_whatever_the_base_is_called(tmp_path: Path, kind: str) -> None:
    make = gemma if kind == "gemma3" else lambda: build(kind)
    make().save_pretrained(tmp_path / "base-file")
    as_loaded(make(), tmp_path / "base-loaded")
    torch.manual_seed(3)
    # PEFT refuses the other layers of Mamba, and changes experts as parameters
    some = {"mamba": ["in_proj", "x_proj"], "mixtral": ["q_proj", "o_proj"]}
    layers = some.get(kind, "all-linear")
    config = LoraConfig(r=2, target_modules=layers, init_lora_weights=False)
    wrapped = get_peft_model(make(), config)
    wrapped.save_pretrained(tmp_path / "lora")
    merged = wrapped.merge_and_unload().state_dict()
    for form in ("file", "loaded") if renamed(tmp_path) else ("file",):
        out = tmp_path / f"out-{form}"
        merge_model(tmp_path / f"base-{form}", [tmp_path / "lora"], out, scale=-1)
        result = type(make()).from_pretrained(out).state_dict()
        for name, wanted in merged.items():
            torch.testing.assert_close(result[name], wanted, rtol=1e-5, atol=1e-6, msg=name)


WRAPPERS = {
    "FSDP": lambda n: re.sub(r"(\.\d+\.)", r"\1_fsdp_wrapped_module.", n),
    "outermost": lambda n: "_fsdp_wrapped_module." + n,
    "checkpointing": lambda n: re.sub(r"(\.\d+\.)", r"\1_checkpoint_wrapped_module.", n),
    "both": lambda n: re.sub(
        r"(\.\d+\.)", r"\1_fsdp_wrapped_module._checkpoint_wrapped_module.", n
    ),
    "compiled": lambda n: "_orig_mod." + n,
    "compiled blocks": lambda n: re.sub(r"(\.\d+\.)", r"\1_orig_mod.", n),
    "data parallel": lambda n: "module." + n,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_in_names_are_looked_past(tmp_path: Path, wrapper: str) -> None:
    pico.llama().save_pretrained(tmp_path / "base")
    moved(pico.llama(), 1).save_pretrained(tmp_path / "tune")
    rename(tmp_path / "tune", WRAPPERS[wrapper])
    merge_model(tmp_path / "base", [tmp_path / "tune"], tmp_path / "out", scale=1)
    require_right(tmp_path / "out", pico.llama(), moved(pico.llama(), 1))


def test_a_wrapped_and_a_bare_copy_of_one_tensor_are_refused(tmp_path: Path) -> None:
    pico.llama().save_pretrained(tmp_path / "base")
    moved(pico.llama(), 1).save_pretrained(tmp_path / "tune")
    tensors = load_file(tmp_path / "tune" / FILE)
    name = "model.layers.0.mlp.up_proj.weight"
    wrapped = "model.layers.0._fsdp_wrapped_module.mlp.up_proj.weight"
    tensors[wrapped] = tensors[name] + 1
    save_file(tensors, tmp_path / "tune" / FILE)
    with pytest.raises(UserError, match=f"are both the tensor '{name}'"):
        merge_model(tmp_path / "base", [tmp_path / "tune"], tmp_path / "out", scale=1)


def test_without_transformers_the_sentence_says_who_would_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemma().save_pretrained(tmp_path / "base")
    as_loaded(gemma(1), tmp_path / "tune")
    monkeypatch.setattr(Base, "library", None)
    with pytest.raises(UserError, match=r"install transformers and torch beside this command$"):
        merge_model(tmp_path / "base", [tmp_path / "tune"], tmp_path / "out", scale=1)


def test_a_changed_vocabulary_is_asked_about_and_can_be_left_out(tmp_path: Path) -> None:
    pico.llama().save_pretrained(tmp_path / "base")
    tune = moved(pico.llama(), 1)
    tune.resize_token_embeddings(302, mean_resizing=False)
    tune.save_pretrained(tmp_path / "tune")
    for exclude in ([], ["embed"]):
        with pytest.raises(UserError, match=r"was the vocabulary changed\?"):
            merge_model(
                tmp_path / "base", [tmp_path / "tune"], tmp_path / "out", scale=1, exclude=exclude
            )
    out = tmp_path / "out"
    both = ["embed", "lm_head"]
    merge_model(tmp_path / "base", [tmp_path / "tune"], out, scale=1, exclude=both)
    result, before = load_file(out / FILE), load_file(tmp_path / "base" / FILE)
    after = load_file(tmp_path / "tune" / FILE)
    for name, tensor in result.items():
        kept = "embed" in name or "lm_head" in name
        wanted = before[name] if kept else 2 * before[name] - after[name]
        torch.testing.assert_close(tensor, wanted, rtol=1e-6, atol=1e-6)


def test_the_manifest_of_a_base_whose_names_differ(tmp_path: Path) -> None:
    """Pythia's head is `embed_out` in its files, and `lm_head` in the model."""
    model = build("gpt_neox")
    model.save_pretrained(tmp_path / "model")
    rename(tmp_path / "model", lambda n: n.replace("lm_head", "embed_out"))
    assert "embed_out.weight" in load_file(tmp_path / "model" / FILE)
    write_manifest(
        tmp_path / "base.json", protocol={}, inputs=[], files={}, verb="none",
        model={"path": str(tmp_path / "model")},
    )  # fmt: skip
    build("gpt_neox", 1).save_pretrained(tmp_path / "tune")
    place = {"version": 1, "hub": None, "revision": None, "path": str(tmp_path / "tune")}
    fetch_finetune("models.m.fine_tunes.0", place, tmp_path / "base.json", tmp_path / "meta.json")
    assert json.loads((tmp_path / "meta.json").read_text())["kind"] == "model"


def test_names_that_fit_two_parts_of_the_base_are_refused(tmp_path: Path) -> None:
    """A LoRA of a bare decoder, on a model that also has an encoder."""
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
    )  # fmt: skip
    model = BartForConditionalGeneration(config)
    model.save_pretrained(tmp_path / "base")
    lora = LoraConfig(r=2, target_modules=["fc1"], init_lora_weights=False)
    get_peft_model(model.model.encoder, lora).save_pretrained(tmp_path / "lora")
    with pytest.raises(UserError, match=r"lora: 'layers.0.fc1.weight' may be '.*coder.*' or '.*"):
        merge_model(tmp_path / "base", [tmp_path / "lora"], tmp_path / "out", scale=1)


@pytest.mark.parametrize("which", ["base", "tune"])
@pytest.mark.parametrize("how", ["config", "tensor"])
def test_quantised_weights_are_refused(tmp_path: Path, which: str, how: str) -> None:
    """Their scales are floats, and the packed weights beside them look like buffers."""
    pico.llama().save_pretrained(tmp_path / "base")
    moved(pico.llama(), 1).save_pretrained(tmp_path / "tune")
    if how == "config":
        file = tmp_path / which / "config.json"
        config = json.loads(file.read_text()) | {"quantization_config": {"quant_method": "gptq"}}
        file.write_text(json.dumps(config))
    else:
        tensors = load_file(tmp_path / which / FILE)
        name = "model.layers.0.mlp.up_proj.weight"
        tensors |= {name: tensors[name].to(torch.int8), f"{name}_scale": torch.ones(32)}
        save_file(tensors, tmp_path / which / FILE, {"format": "pt"})
    with pytest.raises(UserError, match=rf"{which} is quantised .*; take the model unquantised"):
        merge_model(tmp_path / "base", [tmp_path / "tune"], tmp_path / "out", scale=1)
