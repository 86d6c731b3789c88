"""Whatever the installed PEFT can save: its merge, or a sentence; never other weights."""

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pico
import pytest
import torch
from peft import LoraConfig, LoraGAConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.lora import preprocess_loraga
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from detoxmerge.errors import UserError
from detoxmerge.merge.adapter_config import KNOWN, PLAIN_STARTS, READ, SWITCHES
from detoxmerge.merge.base import Base
from detoxmerge.merge.merge_model import merge_model


def tied_llama() -> LlamaForCausalLM:
    config = pico.llama().config.to_dict() | {"tie_word_embeddings": True}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig.from_dict(config)).eval()


MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": pico.gpt2,
    "llama": pico.llama,
    "tied": tied_llama,
}
LAYERS = {"gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"], "tied": ["q_proj"]}
EMBEDDING = {"gpt2": "wte", "llama": "embed_tokens", "tied": "embed_tokens"}
STARTS = [
    True, False, *PLAIN_STARTS,
    "olora", "pissa", "pissa_niter_2", "loftq", "lora_ga", "corda",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT says what it thinks of each of these options
        yield


def trained(model: Any, config: LoraConfig) -> Any:
    """The wrapped model with everything that PEFT would train moved."""
    if config.init_lora_weights == "lora_ga":
        ids = torch.randint(0, 300, (2, 8))
        step = lambda: model(input_ids=ids, labels=ids).loss.backward()  # noqa: E731
        preprocess_loraga(model, config, step)
    torch.manual_seed(1)
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return wrapped


def outcome(folder: Path, kind: str, **options: Any) -> str:
    """`equal` to PEFT's merge, or the sentence of the refusal; anything else fails the test."""
    config = LoraConfig(
        **{"task_type": "CAUSAL_LM", "r": 2, "target_modules": LAYERS[kind]} | options
    )
    base = pico.save(MODELS[kind](), folder / "base")
    wrapped = trained(MODELS[kind](), config)
    wrapped.save_pretrained(folder / "lora")
    try:
        merge_model(base, [folder / "lora"], folder / "out", scale=-1)
    except UserError as refusal:
        return str(refusal)
    peft = wrapped.merge_and_unload().state_dict()
    ours = type(MODELS[kind]()).from_pretrained(folder / "out").state_dict()
    before, moved = MODELS[kind]().state_dict(), 0.0
    assert ours.keys() == peft.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, peft[name], rtol=1e-5, atol=1e-6, msg=name)
        moved = max(moved, float((tensor - before[name]).abs().max()))
    assert moved > 1e-4
    return "equal"


@pytest.mark.parametrize("start", STARTS)
def test_every_initialisation(tmp_path: Path, start: Any) -> None:
    more = {"lora_ga_config": LoraGAConfig()} if start == "lora_ga" else {}
    if start in ("corda", "loftq"):  # they need data and another library; the config says it
        wrapped = trained(pico.llama(), LoraConfig(r=2, target_modules=["q_proj"]))
        wrapped.peft_config["default"].init_lora_weights = start
        wrapped.save_pretrained(tmp_path / "lora")
        base = pico.save(pico.llama(), tmp_path / "base")
        with pytest.raises(
            UserError, match=f"init_lora_weights {start}, which may change the base"
        ):
            merge_model(base, [tmp_path / "lora"], tmp_path / "out", scale=1)
        return
    found = outcome(tmp_path, "llama", init_lora_weights=start, **more)
    plain = start in (True, False) or start in PLAIN_STARTS
    assert (found == "equal") == plain, found


def options(kind: str) -> dict[str, tuple[dict[str, Any], str]]:
    """Options of a LoRA, and what is right: `equal`, or a part of the sentence."""
    linear, embedding = LAYERS[kind], EMBEDDING[kind]
    one_weight = kind != "llama"
    return {
        "rank-stabilised": ({"use_rslora": True, "lora_alpha": 3}, "equal"),
        "ranks": ({"rank_pattern": {linear[-1]: 3}, "alpha_pattern": {linear[0]: 5}}, "equal"),
        "all biases": ({"bias": "all"}, "equal"),
        "its biases": ({"bias": "lora_only"}, "equal"),
        "some layers": ({"layers_to_transform": [1]}, "equal"),
        "left out": ({"exclude_modules": [".*0.*"]}, "equal"),
        "embedding": ({"target_modules": [*linear, embedding]}, "equal"),
        "embedding alone": ({"target_modules": [embedding]}, "equal"),
        "head": ({"target_modules": [*linear, "lm_head"]}, "equal"),
        "both": (
            {"target_modules": [embedding, "lm_head"]},
            "factors of two modules" if one_weight else "equal",
        ),
        "norms whole": ({"modules_to_save": ["ln_f" if kind == "gpt2" else "norm"]}, "equal"),
        "head whole": (
            {"modules_to_save": ["lm_head"]},
            "one weight for it and for" if one_weight else "equal",
        ),
        "embedding whole": (
            {"modules_to_save": [embedding]},
            "one weight for it and for" if one_weight else "equal",
        ),
        "both whole": (
            {"modules_to_save": [embedding, "lm_head"]},
            "are one weight in the base, and differ" if one_weight else "equal",
        ),
        "tokens": ({"trainable_token_indices": [3, 7]}, "the embeddings of single tokens"),
        "both whole and tied": (
            {"modules_to_save": [embedding, "lm_head"], "ensure_weight_tying": True},
            "equal",
        ),
        "embedding whole and tied": (
            {"modules_to_save": [embedding], "ensure_weight_tying": True},
            "one weight for it and for" if kind == "gpt2" else "equal",
        ),
        "head whole and tied": (
            {"modules_to_save": ["lm_head"], "ensure_weight_tying": True},
            "equal",
        ),
        "both and tied": (
            {"target_modules": [embedding, "lm_head"], "ensure_weight_tying": True},
            "factors of 'lm_head', which its config" if one_weight else "equal",
        ),
        "DoRA": ({"use_dora": True}, "is a DoRA"),
        "biases of factors": ({"lora_bias": True}, "has biases in its factors"),
        "repeated layers": ({"layer_replication": [[0, 2], [1, 2]]}, "repeats layers"),
        "a part of the tokens": ({"alora_invocation_tokens": [5, 6]}, "part of the tokens"),
    }


@pytest.mark.parametrize(
    ("kind", "option"), [(kind, option) for kind in MODELS for option in options(kind)]
)
def test_every_option_is_merged_as_peft_does_or_refused(
    tmp_path: Path, kind: str, option: str
) -> None:
    given, right = options(kind)[option]
    if option in ("biases of factors", "its biases") and kind != "gpt2":
        pytest.skip("its layers have no biases")
    if option == "repeated layers" and kind == "gpt2":
        pytest.skip("PEFT repeats layers of Llama-like models only")
    found = outcome(tmp_path, kind, **given)
    assert found == "equal" if right == "equal" else right in found, found


def test_tied_modules_saved_whole_and_equal_are_merged(tmp_path: Path) -> None:
    base = pico.save(tied_llama(), tmp_path / "base")
    wrapped = trained(
        tied_llama(),
        LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]),
    )
    wrapped.save_pretrained(tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_model.safetensors"
    tensors = load_file(file)
    (embedding,) = (name for name in tensors if "embed_tokens" in name)
    (head,) = (name for name in tensors if "lm_head" in name)
    save_file(tensors | {head: tensors[embedding].clone()}, file)
    merge_model(base, [tmp_path / "lora"], tmp_path / "out", scale=-1)
    found = LlamaForCausalLM.from_pretrained(tmp_path / "out").model.embed_tokens.weight
    torch.testing.assert_close(found, tensors[embedding], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [k for k in PEFT_TYPE_TO_CONFIG_MAPPING if k.value != "LORA"])
def test_every_other_kind_of_adapter_is_refused(tmp_path: Path, kind: Any) -> None:
    base = pico.save(pico.llama(), tmp_path / "base")
    lora = tmp_path / "lora"
    trained(pico.llama(), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(lora)
    file = lora / "adapter_config.json"
    text = file.read_text().replace('"peft_type": "LORA"', f'"peft_type": "{kind.value}"')
    file.write_text(text)
    with pytest.raises(UserError, match=rf"is no LoRA adapter \(peft_type {kind.value}\)"):
        merge_model(base, [lora], tmp_path / "out", scale=1)


def test_every_key_of_the_installed_peft_is_known() -> None:
    """A release with a new one asks for a look at what it does."""
    keys = {field.name for field in dataclasses.fields(LoraConfig)}
    assert keys - KNOWN - READ - SWITCHES.keys() <= {"peft_version"}
    assert not KNOWN & SWITCHES.keys()


@pytest.mark.parametrize(
    "layers", [["c_proj"], ["c_attn", "c_proj"], ["c_proj", "lm_head"], ["c_proj", "wte"]]
)
@pytest.mark.parametrize("flag", [True, False, None])
def test_square_layers_are_turned_as_their_class_is_and_not_as_the_config_says(
    tmp_path: Path, layers: list[str], flag: bool | None
) -> None:
    """PEFT writes into the flag what the last of the layers was; Conv1D and Linear differ."""
    base = pico.save(pico.gpt2(), tmp_path / "base")
    wrapped = trained(pico.gpt2(), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=layers))
    wrapped.save_pretrained(tmp_path / "lora")
    if flag is not None:
        change_config(tmp_path / "lora", fan_in_fan_out=flag)
    merge_model(base, [tmp_path / "lora"], tmp_path / "out", scale=-1)
    found = type(pico.gpt2()).from_pretrained(tmp_path / "out").state_dict()
    for name, wanted in wrapped.merge_and_unload().state_dict().items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-6, msg=name)


def test_without_transformers_square_layers_of_gpt2_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = pico.save(pico.gpt2(), tmp_path / "base")
    config = LoraConfig(r=2, target_modules=["c_proj"])
    trained(pico.gpt2(), config).save_pretrained(tmp_path / "lora")
    monkeypatch.setattr(Base, "library", None)
    with pytest.raises(UserError, match="is square, so that its orientation cannot be told"):
        merge_model(base, [tmp_path / "lora"], tmp_path / "out", scale=1)


CONTRADICTIONS = {
    "rank": ({"r": 3}, "has rank 2 in its file, and 3 by its config"),
    "rank of a pattern": ({"rank_pattern": {"q_proj": 4}}, "and 4 by its config"),
    "target": ({"target_modules": ["v_proj"]}, "which its config does not name"),
    "regular expression": ({"target_modules": ".*v_proj"}, "which its config does not name"),
    "left out": ({"exclude_modules": ["q_proj"]}, "which its config does not name"),
    "layer": ({"layers_to_transform": [1]}, "which its config does not name"),
    "broken pattern": ({"alpha_pattern": {"(": 1}}, "alpha_pattern is no mapping"),
    "broken pattern of ranks": ({"rank_pattern": {"(": 1}}, "rank_pattern is no mapping"),
    "targets": ({"target_modules": 3}, "target_modules is none of what PEFT takes"),
    "layers": ({"layers_to_transform": ["1"]}, "layers_to_transform is none of what PEFT takes"),
    "huge": ({"lora_alpha": 10**400}, "lora_alpha or alpha_pattern is not a number"),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_a_config_that_contradicts_the_tensors_is_refused(tmp_path: Path, kind: str) -> None:
    changes, said = CONTRADICTIONS[kind]
    base = pico.save(pico.llama(), tmp_path / "base")
    lora = tmp_path / "lora"
    trained(pico.llama(), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(lora)
    change_config(lora, **changes)
    with pytest.raises(UserError, match=said):
        merge_model(base, [lora], tmp_path / "out", scale=1)


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    base = pico.save(pico.llama(), tmp_path / "base")
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    trained(pico.llama(), config).save_pretrained(tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_model.safetensors"
    tensors = load_file(file)
    (head,) = (name for name in tensors if "lm_head" in name)
    for name in (head.replace("lm_head", "lm_head.modules_to_save"), None):
        again = name or next(n for n in tensors if "lora_A" in n).removesuffix(".weight")
        save_file(tensors | {again: tensors[head].clone() if name else torch.ones(2, 16)}, file)
        with pytest.raises(UserError, match="is there a second time under another name"):
            merge_model(base, [tmp_path / "lora"], tmp_path / "out", scale=1)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("key", SWITCHES)
def test_what_acts_in_another_way_is_refused_by_its_key(tmp_path: Path, key: str) -> None:
    base = pico.save(pico.llama(), tmp_path / "base")
    lora = tmp_path / "lora"
    trained(pico.llama(), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(lora)
    file = lora / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: {"a": 1}}))
    with pytest.raises(UserError, match=rf"{SWITCHES[key]} \({key}\)"):
        merge_model(base, [lora], tmp_path / "out", scale=1)


@pytest.mark.parametrize("value", [True, False, 0, "x", {"a": 1}])
def test_a_key_that_nobody_knows_is_refused_unless_it_is_not_set(
    tmp_path: Path, value: Any
) -> None:
    base = pico.save(pico.llama(), tmp_path / "base")
    lora = tmp_path / "lora"
    trained(pico.llama(), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(lora)
    file = lora / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"of_tomorrow": None, "another": []}))
    merge_model(base, [lora], tmp_path / "out", scale=1)
    file.write_text(json.dumps(config | {"of_tomorrow": value}))
    with pytest.raises(UserError, match=r"has the key 'of_tomorrow' \("):
        merge_model(base, [lora], tmp_path / "again", scale=1)


@pytest.mark.parametrize("kind", MODELS)
def test_another_embedding_beside_its_factors_is_refused(tmp_path: Path, kind: str) -> None:
    base = pico.save(MODELS[kind](), tmp_path / "base")
    model = MODELS[kind]()
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=[EMBEDDING[kind]])
    wrapped = trained(model, config)
    wrapped.save_pretrained(tmp_path / "lora", save_embedding_layers=True)
    file = tmp_path / "lora" / "adapter_model.safetensors"
    tensors = load_file(file)
    (copy,) = (name for name in tensors if "base_layer" in name)
    tensors[copy][3, 3] += 0.01
    save_file(tensors, file)
    with pytest.raises(UserError, match="and it is not that of this base"):
        merge_model(base, [tmp_path / "lora"], tmp_path / "out", scale=1)
    # nothing of it is wanted
    with pytest.raises(UserError, match="every tensor would be left out"):
        merge_model(base, [tmp_path / "lora"], tmp_path / "out", scale=1, exclude=["."])
    merge_model(base, [tmp_path / "lora"], tmp_path / "out", scale=1, exclude=[EMBEDDING[kind]])
