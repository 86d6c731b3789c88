"""The loop: the tokens of the library's own loop, whatever shares a batch, for every cache."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pico
import pytest
import torch
import transformers
from transformers import (
    Cache,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TopPLogitsWarper,
)

from detoxmerge.models import decoding
from detoxmerge.models.decoding import decode
from detoxmerge.models.nucleus import draw

TINY = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
LENGTHS, NEW = [3, 11, 7, 7, 1], 12
SAMPLES = [4, 1, 3, 5, 2]


def tiny(architecture: str, **more: Any) -> Any:
    """A causal LM of random weights."""
    torch.manual_seed(0)
    kind = "Gemma3Text" if architecture == "Gemma3" else architecture
    config = getattr(transformers, f"{kind}Config")(**TINY | more)
    return getattr(transformers, f"{architecture}ForCausalLM")(config).eval()


def gpt1() -> Any:
    """A model without a cache."""
    torch.manual_seed(0)
    config = transformers.OpenAIGPTConfig(
        vocab_size=300, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.2
    )
    return transformers.OpenAIGPTLMHeadModel(config).eval()


sliding = {"layer_types": ["sliding_attention", "full_attention"]}
MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": pico.gpt2,
    "llama": pico.llama,
    "gemma3, window not reached": partial(tiny, "Gemma3", sliding_window=64, **sliding),
    "gemma3, window passed": partial(tiny, "Gemma3", sliding_window=6, **sliding),
    "lfm2, convolutions": partial(tiny, "Lfm2", layer_types=["conv", "full_attention"]),
    "mamba, a state": partial(tiny, "Mamba", state_size=8),
    "falcon-h1, both in a layer": partial(
        tiny, "FalconH1", mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8
    ),
    "openai-gpt, no cache": gpt1,
}


class Reference(LogitsProcessor):
    """Leaves of the library's nucleus the token at which the cumulated probability exceeds u."""

    def __init__(self, numbers: torch.Tensor, width: int) -> None:
        self.numbers, self.width = numbers, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        u = self.numbers[:, input_ids.shape[1] - self.width, None]
        cdf = TopPLogitsWarper(0.9)(input_ids, scores).double().softmax(dim=-1).cumsum(dim=-1)
        chosen = (cdf <= u * cdf[:, -1:]).sum(dim=-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


def by_the_library(
    model: Any, prompts: list[list[int]], numbers: torch.Tensor, end: int | None
) -> list[list[int]]:
    """Every row reads its prompt itself, and the library's loop samples."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
    config = GenerationConfig(max_new_tokens=NEW, pad_token_id=0, eos_token_id=end)
    model.generation_config = GenerationConfig()
    out = model.generate(
        ids,
        attention_mask=mask,
        generation_config=config,
        logits_processor=LogitsProcessorList([Reference(numbers, width)]),
    )
    new = [row[width:].tolist() for row in out]
    return [row[: row.index(end) + 1] if end in row else row for row in new]


def case(seed: int = 0) -> tuple[list[list[int]], torch.Tensor]:
    """Prompts, and numbers for their continuations."""
    random = np.random.default_rng(seed)
    prompts = [random.integers(1, 300, length).tolist() for length in LENGTHS]
    return prompts, torch.from_numpy(random.random((sum(SAMPLES), NEW)))


def decoded(model: Any, prompts: Any, samples: Any, numbers: Any, end: int | None) -> Any:
    model.generation_config = GenerationConfig()
    return decode(model, prompts, samples, numbers, partial(draw, top_p=0.9), [], pad=0, end=end)


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_the_librarys_loop(name: str) -> None:
    model, (prompts, numbers) = MODELS[name](), case()
    each = [row for row, count in zip(prompts, SAMPLES, strict=True) for _ in range(count)]
    ends = np.bincount([t for row in by_the_library(model, each, numbers, None) for t in row])
    end = int(ends.argmax())  # often drawn, so that rows leave the batch at every step
    for last in (end, None):
        wanted = by_the_library(model, each, numbers, last)
        assert decoded(model, prompts, SAMPLES, numbers, last) == wanted
    assert sum(row[-1] == end for row in by_the_library(model, each, numbers, end)) > 2


@pytest.mark.parametrize("name", [name for name in MODELS if "mamba" not in name])
def test_rows_do_not_depend_on_those_beside_them(name: str) -> None:
    model, (prompts, numbers) = MODELS[name](), case(1)
    together = decoded(model, prompts, SAMPLES, numbers, 7)
    starts = np.cumsum([0, *SAMPLES])
    alone = [
        row
        for prompt, start, stop in zip(prompts, starts, starts[1:], strict=False)
        for row in decoded(model, [prompt], [stop - start], numbers[start:stop], 7)
    ]
    assert alone == together


def test_a_prompt_is_read_once_and_ended_rows_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (prompts, numbers) = pico.gpt2(), case()
    shapes: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    rows = decoded(model, prompts, SAMPLES, numbers, None)
    assert shapes == [(len(prompts), max(LENGTHS))] + [(sum(SAMPLES), 1)] * (NEW - 1)
    shapes.clear()
    end = int(np.bincount([token for row in rows for token in row]).argmax())
    ended = decoded(model, prompts, SAMPLES, numbers, end)
    left = [sum(len(row) > step for row in ended) for step in range(1, NEW)]
    for (count, _), going in zip(shapes[1:], left, strict=False):
        assert going <= count < going * decoding.DROP / (decoding.DROP - 1) + 1
    assert shapes[-1][0] < sum(SAMPLES)


def test_a_cache_that_an_architecture_brings_of_its_own_is_not_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, (prompts, numbers) = pico.llama(), case()
    wanted = decoded(model, prompts, SAMPLES, numbers, 7)
    monkeypatch.setattr(DynamicCache, "__module__", "transformers.models.other")
    monkeypatch.delattr(Cache, "reorder_cache")
    assert decoded(model, prompts, SAMPLES, numbers, 7) == wanted


PREFIXED = ["gpt2", "llama", "gemma3, window passed", "mamba, a state", "openai-gpt, no cache"]


@pytest.mark.parametrize("name", PREFIXED)
def test_a_long_prefix_is_read_once_where_padding_may_follow_it(name: str) -> None:
    model, (prompts, numbers) = MODELS[name](), case()
    prompts = [[*range(1, 21), *row] for row in prompts]
    each = [row for row, count in zip(prompts, SAMPLES, strict=True) for _ in range(count)]
    shapes: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append((args or [kwargs["input_ids"]])[0].shape),
        with_kwargs=True,
    )
    found = decoded(model, prompts, SAMPLES, numbers, None)
    if name in ("gpt2", "llama"):
        assert shapes[:2] == [(1, 20), (len(prompts), max(LENGTHS))]
    else:
        assert (len(prompts), 20 + max(LENGTHS)) in shapes[:2]
    assert found == by_the_library(model, each, numbers, None)
