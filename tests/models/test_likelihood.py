"""What a tokenizer puts around a text, and long windows of every kind of architecture."""

from typing import Any

import numpy as np
import pico
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM

from detoxmerge.errors import UserError
from detoxmerge.measure.perplexity import make_windows
from detoxmerge.models import likelihood
from detoxmerge.models.likelihood import added_tokens, require_causal, text_tokens, window_nll

WIDTH, VOCABULARY = 16, 64
USUAL = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT = {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 64}
MAMBA = {"hidden_size": WIDTH, "num_hidden_layers": 2, "state_size": 4}
OF_HEADS = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_chunk_size": 8}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "head_dim": 8,
}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
# without a key-value cache, or with other states beside it, which pieces of a window would lose
RECURRENT: dict[str, dict[str, Any]] = {
    "bamba": USUAL | OF_HEADS | {"attn_layer_indices": [1]},
    "falcon_h1": USUAL | OF_HEADS | {"mamba_d_ssm": 32},
    "falcon_mamba": MAMBA,
    "granitemoehybrid": USUAL
    | OF_HEADS
    | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 16},
    "jamba": USUAL
    | {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4}
    | {"num_experts": 2},
    "lfm2": USUAL | {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "mamba": MAMBA,
    "mamba2": MAMBA | {"num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    "minimax": USUAL
    | {"layer_types": ["linear_attention", "full_attention"], "block_size": 8}
    | {"num_local_experts": 2, "head_dim": 8},
    "nemotron_h": USUAL
    | {"layers_block_type": ["mamba", "attention"], "mamba_num_heads": 4, "mamba_head_dim": 8}
    | {"ssm_state_size": 4, "n_groups": 1, "chunk_size": 8, "head_dim": 8},
    "olmo_hybrid": USUAL | LINEAR | {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": USUAL
    | LINEAR
    | EXPERTS
    | {"layer_types": ["linear_attention", "full_attention"]}
    | {"shared_expert_intermediate_size": 16},
    "recurrent_gemma": USUAL
    | {"num_hidden_layers": 3, "attention_window_size": 8, "head_dim": 8, "lru_width": WIDTH},
    "rwkv": {"hidden_size": WIDTH, "num_hidden_layers": 2, "context_length": 64},
    "xlstm": {"hidden_size": 64, "num_hidden_layers": 2, "num_heads": 2, "qk_dim_factor": 1.0},
    "zamba": USUAL
    | {"layers_block_type": ["mamba", "hybrid", "hybrid"], "mamba_d_state": 4}
    | {"num_hidden_layers": 3},
    "zamba2": USUAL
    | {"layers_block_type": ["mamba", "hybrid"], "mamba_d_state": 4, "chunk_size": 8}
    | {"n_mamba_heads": 4},
}
ATTENTION: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": WIDTH, "n_layer": 2, "n_head": 2},
    "cohere": USUAL,
    "ctrl": GPT | {"dff": 32},
    "falcon": {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2},
    "gemma2": USUAL | {"head_dim": 8, "sliding_window": 8},
    "gemma3_text": USUAL | {"head_dim": 8, "sliding_window": 8},
    "gpt2": GPT,
    "gpt_neo": {
        "hidden_size": WIDTH,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
        "max_position_embeddings": 64,
    },
    "gpt_neox": USUAL,
    "granite": USUAL | {"logits_scaling": 3.0},
    "llama": USUAL,
    "mistral": USUAL | {"sliding_window": 8},
    "mixtral": USUAL | {"num_local_experts": 2},
    "mpt": {"d_model": WIDTH, "n_layers": 2, "n_heads": 2, "max_seq_len": 64},
    "openai-gpt": GPT,
    "opt": {
        "hidden_size": WIDTH,
        "word_embed_proj_dim": WIDTH,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    },
    "qwen3": USUAL | {"head_dim": 8},
}


BIDIRECTIONAL: dict[str, dict[str, Any]] = {
    "bert": USUAL,
    "electra": USUAL | {"embedding_size": WIDTH},
    "roberta": USUAL,
    "xlnet": {"d_model": WIDTH, "n_layer": 2, "n_head": 2, "d_inner": 32},
}


def build(kind: str) -> Any:
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    options = {**RECURRENT, **ATTENTION, **BIDIRECTIONAL}[kind]
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, **special, **options)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "A_log" not in name:
                parameter.normal_(0, 0.3)  # as made they know nothing, and a lost state is no loss
    return model


@pytest.mark.parametrize("kind", [*RECURRENT, *ATTENTION])
def test_a_window_in_slices_has_the_likelihood_of_the_window_as_a_whole(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(kind)
    ids = torch.randint(3, VOCABULARY, (40,), generator=torch.Generator().manual_seed(1))
    windows = make_windows(len(ids), 24, 12, before=1)
    whole = window_nll(model, ids, windows, 2, before=[2])
    for window, nll in zip(windows, whole, strict=True):  # by hand, from all logits of one pass
        row = torch.cat([torch.tensor([2]), ids[window.begin : window.end]])
        with torch.no_grad():
            logs = torch.log_softmax(model(row[None]).logits[0].double(), -1)
        scored = range(1 + window.score_from - window.begin, len(row))
        assert nll == pytest.approx(-sum(logs[t - 1, row[t]].item() for t in scored), rel=1e-5)
    for elements in (VOCABULARY * 7, VOCABULARY):
        monkeypatch.setattr(likelihood, "SLICE", elements)
        assert window_nll(model, ids, windows, "auto", before=[2]) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("kind", [*RECURRENT, *ATTENTION])
def test_a_causal_model_is_taken_for_one(kind: str) -> None:
    require_causal(build(kind))
    require_causal(build(kind).to(torch.bfloat16))


@pytest.mark.parametrize("kind", BIDIRECTIONAL)
def test_a_model_that_sees_what_it_predicts_is_one_sentence(kind: str) -> None:
    with pytest.raises(UserError, match=f"a model of type '{kind}' sees the tokens behind"):
        require_causal(build(kind))


def with_template(template: str, special: list[tuple[str, int]] | None = None) -> Any:
    tokenizer = pico.tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=special or [("<end>", 0)]
    )
    return tokenizer


class Stubborn:
    """A tokenizer that puts its tokens whatever it is asked."""

    bos_token_id, cls_token_id, eos_token_id, sep_token_id, unk_token_id = 1, None, 2, None, 3

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [1, *(10 + len(word) for word in text.split()), 3, 2]}


@pytest.mark.parametrize(
    ("tokenizer", "before", "behind"),
    [
        (pico.tokenizer(), [], []),
        (with_template("<end> $A"), [0], []),
        (with_template("$A <end>"), [], [0]),
        (with_template("<end> $A <end>"), [0], [0]),
        # two tokens, and neither is called a special one
        (with_template("a b $A", [("a", 65), ("b", 66)]), [65, 66], []),
        (Stubborn(), [1], [2]),
    ],
    ids=["none", "begin", "end", "both", "two", "stubborn"],
)
def test_what_a_tokenizer_puts_around_a_text_is_found_by_asking_it(
    tokenizer: Any, before: list[int], behind: list[int]
) -> None:
    assert added_tokens(tokenizer) == (before, behind)
    text = "The gardener <end> planted"
    ids, first = text_tokens(tokenizer, text)
    assert first == before
    assert [*before, *ids, *behind] == tokenizer(text)["input_ids"]


def test_a_word_that_no_tokenizer_knows_is_not_what_it_puts_there() -> None:
    class OfUnknownWords(Stubborn):
        bos_token_id = unk_token_id = eos_token_id = 3

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [3] * len(text.split())}

    assert added_tokens(OfUnknownWords()) == ([], [])


def test_a_tokenizer_that_treats_this_text_otherwise_is_one_sentence() -> None:
    class Moody(Stubborn):
        def __call__(self, text: str, **more: Any) -> dict[str, list[int]]:
            return super().__call__(text) if text == likelihood.PROBE else {"input_ids": [9, 9]}

    with pytest.raises(UserError, match=r"puts \[1\] before and \[2\] behind 'two words', but not"):
        text_tokens(Moody(), "a text")


def test_the_first_token_behind_a_begin_of_text_token_is_scored() -> None:
    model, ids = pico.llama(), torch.randint(1, 300, (50,))
    windows = make_windows(len(ids), 20, 7, before=2)
    found = window_nll(model, ids, windows, 3, before=[0, 5])
    assert np.isfinite(found).all()
    assert windows[0].score_from == 0
    with torch.no_grad():
        logs = torch.log_softmax(model(torch.tensor([[0, 5]])).logits[0, -1].double(), -1)
    alone = make_windows(1, 20, 7, before=2)
    assert window_nll(model, ids[:1], alone, 1, before=[0, 5]) == pytest.approx(
        -logs[ids[0]].item(), rel=1e-5
    )
