"""LoRA adapters: the product exactly, and what PEFT itself makes of the adapters that it saves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pico
import pytest
import torch
from merge.checkpoints import adapter
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from detoxmerge.errors import UserError
from detoxmerge.merge.merge_model import merge_model

GPT2_LAYERS = ["c_attn", "c_proj", "c_fc"]


def trained(model: Any, folder: Path, seed: int, **config: Any) -> Path:
    """An adapter with random factors, saved by PEFT."""
    torch.manual_seed(seed)
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    wrapped.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (pico.gpt2, {"r": 4, "lora_alpha": 8, "target_modules": ["c_attn"]}),
        (pico.gpt2, {"r": 3, "lora_alpha": 5, "target_modules": GPT2_LAYERS, "use_rslora": True}),
        (pico.gpt2, {"r": 2, "target_modules": ["c_attn", "wte"]}),
        (pico.gpt2, {"r": 2, "target_modules": ["c_attn"], "bias": "all"}),
        (pico.llama, {"r": 4, "target_modules": "all-linear", "bias": "lora_only"}),
        (pico.llama, {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
        (
            pico.llama,
            {
                "r": 4,
                "lora_alpha": 16,
                "target_modules": ["q_proj", "v_proj", "up_proj"],
                "rank_pattern": {"up_proj": 2},
                "alpha_pattern": {"v_proj": 3, "layers.1.self_attn.q_proj": 7},
            },
        ),
    ],
)
def test_adapters_are_what_peft_makes_of_them(
    tmp_path: Path, make: Any, config: dict[str, Any]
) -> None:
    base = pico.save(make(), tmp_path / "base")
    fine_tunes = [trained(make(), tmp_path / f"lora{i}", i, **config) for i in range(2)]
    before, merged = make().state_dict(), []
    for fine_tune in fine_tunes:
        model = PeftModel.from_pretrained(make(), fine_tune).double()
        state = model.merge_and_unload().state_dict()
        merged.append({name: state[name].double() - before[name].double() for name in before})
    merge_model(base, fine_tunes, tmp_path / "out", scale=1)
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    moved = 0
    for name, start in before.items():
        mean = (merged[0][name] + merged[1][name]) / 2
        moved += int(mean.count_nonzero())
        wanted = start.double() - mean
        torch.testing.assert_close(result[name].double(), wanted, rtol=2e-7, atol=1e-7)
    assert moved > 100


def test_the_mean_of_products_is_not_the_product_of_means(tmp_path: Path) -> None:
    base = pico.save(pico.gpt2(), tmp_path / "base")
    rng, name = np.random.default_rng(0), "transformer.h.0.mlp.c_fc"
    factors = [(rng.standard_normal((4, 16)), rng.standard_normal((64, 4))) for _ in range(3)]
    fine_tunes = [adapter(tmp_path / f"a{i}", {name: f}) for i, f in enumerate(factors)]
    merge_model(base, fine_tunes, tmp_path / "out", scale=1)
    single = [(a.astype("f4").astype("f8"), b.astype("f4").astype("f8")) for a, b in factors]
    taus = [(8 / 4 * (b @ a)).T.astype(np.float32) for a, b in single]
    mean = np.mean([tau.astype(np.float64) for tau in taus], axis=0).astype(np.float32)
    before = pico.gpt2().state_dict()[f"{name}.weight"].numpy()
    result = load_file(tmp_path / "out" / "model.safetensors")[f"{name}.weight"].numpy()
    np.testing.assert_array_equal(result, before - mean)


def one_factor(folder: Path, module: str = "transformer.h.0.mlp.c_fc", **config: Any) -> Path:
    return adapter(folder, {module: (np.ones((2, 16)), np.ones((64, 2)))}, **config)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: one_factor(p, "model.layers.0.mlp.up_proj"), "adapter of another base, which"),
        (lambda p: one_factor(p, "transformer.h.0.attn.c_attn"), r"another base: '.*' is \[16, 48"),
        (
            lambda p: one_factor(p, peft_type="IA3"),
            r"is no LoRA adapter \(peft_type IA3\); merge it into its",
        ),
        (lambda p: one_factor(p, use_dora=True), "is a DoRA, which also scales"),
        (
            lambda p: adapter(
                p, {"transformer.h.0.mlp.c_fc": (np.full((2, 16), np.nan), np.ones((64, 2)))}
            ),
            "holds NaN or infinity",
        ),
        (lambda p: one_factor(p, init_lora_weights="pissa_niter_4"), "may change the base too"),
        (lambda p: one_factor(p, init_lora_weights="olora"), "may change the base too"),
        (lambda p: one_factor(p, lora_alpha="16"), "lora_alpha or alpha_pattern is not a number"),
        (lambda p: one_factor(p, alpha_pattern=[1]), "alpha_pattern is no mapping"),
        (lambda p: adapter(p, {}), "holds no weights"),
        (
            lambda p: adapter(
                p, {"transformer.h.0.mlp.c_fc": (np.ones((0, 16)), np.ones((64, 0)))}
            ),
            "not a factor of a plain LoRA",
        ),
    ],
)
def test_bad_adapters_are_one_sentence(tmp_path: Path, make: Any, message: str) -> None:
    base = pico.save(pico.gpt2(), tmp_path / "base")
    fine_tune = make(tmp_path / "lora")
    with pytest.raises(UserError, match=message):
        merge_model(base, [fine_tune], tmp_path / "out", scale=1)
    assert not (tmp_path / "out").exists()


def test_an_adapter_without_weights_or_config(tmp_path: Path) -> None:
    base = pico.save(pico.gpt2(), tmp_path / "base")
    fine_tune = one_factor(tmp_path / "lora")
    (fine_tune / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"adapter_model.safetensors is missing"):
        merge_model(base, [fine_tune], tmp_path / "out", scale=1)
    (fine_tune / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match=r"adapter_config.json is not JSON"):
        merge_model(base, [fine_tune], tmp_path / "out", scale=1)
    (fine_tune / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
