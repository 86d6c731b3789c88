"""Where the parts of a decoder lie: a pico model of each known type, built on the spot."""

from typing import Any

import pico
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from detoxmerge.errors import UserError
from detoxmerge.models.activations import pooled, watched
from detoxmerge.models.architectures import LAYOUTS, modules_of

WIDTH, LAYERS = 16, 2
USUAL = {
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_positions": 64}
# type -> what its config calls things, and the output projection within the attention
TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "falcon": (
        {k: USUAL[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads")},
        "dense",
    ),
    "gpt2": (GPT, "c_proj"),
    "gpt_neo": (
        {
            "hidden_size": WIDTH,
            "num_layers": LAYERS,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
            "max_position_embeddings": 64,
        },
        "attention.out_proj",
    ),
    "gpt_neox": (USUAL, "dense"),
    "gptj": (GPT | {"rotary_dim": 4}, "out_proj"),
    "llama": (USUAL, "o_proj"),
    "mistral": (USUAL, "o_proj"),
    "mpt": ({"d_model": WIDTH, "n_layers": LAYERS, "n_heads": 2, "max_seq_len": 64}, "out_proj"),
    "opt": (
        {
            "hidden_size": WIDTH,
            "word_embed_proj_dim": WIDTH,
            "ffn_dim": 24,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
        },
        "out_proj",
    ),
    "phi": (USUAL, "dense"),
    "phi3": (USUAL, "o_proj"),
    "qwen2": (USUAL, "o_proj"),
    "qwen3": (USUAL | {"head_dim": 8}, "o_proj"),
}
IDS = [5, 9, 200, 31, 7]


def build(kind: str) -> Any:
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, vocab_size=300, **special, **TYPES[kind][0])
    return AutoModelForCausalLM.from_config(config).eval()


def test_every_known_type_is_tested_here() -> None:
    assert set(TYPES) == set(LAYOUTS)


@pytest.mark.parametrize("kind", TYPES)
def test_the_attention_gives_its_projected_output(kind: str) -> None:
    model = build(kind)
    modules = modules_of(model, "attention")
    projections = [f"{module}.{TYPES[kind][1]}" for module in modules]
    with torch.no_grad(), watched(model, [*modules, *projections]) as given:
        model(torch.tensor([IDS]))
    assert len(modules) == LAYERS
    for module, projection in zip(modules, projections, strict=True):
        assert given[module].shape == (1, len(IDS), WIDTH)
        assert torch.equal(given[module], given[projection].reshape(given[module].shape))
        assert given[module].abs().max() > 0


@pytest.mark.parametrize("kind", TYPES)
def test_the_attention_is_seen_before_the_residual_is_added(kind: str) -> None:
    """Cut off, with the MLP's values, it leaves nothing of the block but the residual."""
    model = build(kind)
    blocks, attention = modules_of(model, "blocks"), modules_of(model, "attention")
    for values in modules_of(model, "values"):
        for parameter in model.get_submodule(values).parameters():
            torch.nn.init.zeros_(parameter)

    def cut(_: Any, __: Any, output: Any) -> Any:
        return (torch.zeros_like(output[0]), *output[1:])

    for module in attention:
        model.get_submodule(module).register_forward_hook(cut)
    with torch.no_grad(), watched(model, blocks) as given:
        model(torch.tensor([IDS]))
    assert torch.equal(given[blocks[0]], given[blocks[1]])
    assert given[blocks[0]].abs().max() > 0


@pytest.mark.parametrize("kind", TYPES)
def test_blocks_give_the_residual_stream_and_values_write_to_it(kind: str) -> None:
    model = build(kind)
    blocks, values = modules_of(model, "blocks"), modules_of(model, "values")
    with torch.no_grad(), watched(model, [*blocks, *values]) as given:
        states = model(torch.tensor([IDS]), output_hidden_states=True).hidden_states
    assert torch.equal(given[blocks[0]], states[1])
    assert not torch.equal(given[blocks[-1]], states[-1])  # that is behind the final norm
    for module in values:
        assert given[module].shape[-1] == WIDTH
        assert f"{module}.weight" in dict(model.named_parameters())


def test_an_unknown_architecture_is_one_sentence() -> None:
    model = pico.llama()
    model.config.model_type = "bloom"
    with pytest.raises(UserError) as error:
        modules_of(model, "attention")
    assert "a model of type 'bloom'" in str(error.value)
    assert "works with falcon, gpt2, gpt_neo, gpt_neox" in str(error.value)


@pytest.mark.parametrize("last", [None, 3, 8])
def test_pooling_is_the_mean_over_the_last_positions(last: int | None) -> None:
    model = pico.gpt2()
    modules = modules_of(model, "attention")
    rows = [IDS, [*IDS, 11, 12, 13, 14], [3]]
    found = pooled(model, rows, modules, last)
    assert found.shape == (3, 2, 16)
    for i, row in enumerate(rows):
        with torch.no_grad(), watched(model, modules) as given:
            model(torch.tensor([row]))
        for k, module in enumerate(modules):
            by_hand = given[module][0].numpy().astype("float64")
            by_hand = by_hand if last is None else by_hand[max(0, len(row) - last) :]
            assert found[i, k] == pytest.approx(by_hand.mean(axis=0), abs=1e-12)
    assert all(not m._forward_hooks for m in model.modules())


def test_broken_weights_are_one_sentence() -> None:
    model = pico.gpt2()
    torch.nn.init.constant_(model.transformer.h[0].attn.c_proj.weight, torch.nan)
    with pytest.raises(UserError, match="activations are NaN or infinite"):
        pooled(model, [IDS], modules_of(model, "attention"))
