"""Perplexity against token-by-token computation; windows; what does not fit is refused."""

from pathlib import Path
from typing import Any

import beside
import numpy as np
import pandas as pd
import pico
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM

from detoxmerge.errors import UserError
from detoxmerge.measure.metrics import perplexity_per_token
from detoxmerge.measure.payloads import Windows
from detoxmerge.measure.perplexity import (
    make_windows,
    measure_perplexity,
    require_finite,
    window_length,
)
from detoxmerge.models import likelihood
from detoxmerge.models.likelihood import window_nll
from detoxmerge.storage.artefacts import read_json

IDS = torch.randint(1, 300, (150,), generator=torch.Generator().manual_seed(5))


def by_hand(model: Any, ids: torch.Tensor, window: int, stride: int) -> tuple[float, int]:
    """One forward pass per scored token: the definition, without windows in batches."""
    total, count, scored = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        for t in range(max(scored, begin + 1), end):
            with torch.no_grad():
                logits = model(ids[None, begin:t]).logits[0, -1].double()
            total -= torch.log_softmax(logits, -1)[ids[t]].item()
            count += 1
        scored = end
        if end == len(ids):
            break
    return total, count


@pytest.mark.parametrize(("window", "stride"), [(64, 32), (20, 20), (50, 7), (64, 1)])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_nll_is_that_of_the_definition(family: str, window: int, stride: int) -> None:
    model, ids = getattr(pico, family)(), IDS[:90]
    windows = make_windows(len(ids), window, stride)
    nll = window_nll(model, ids, windows, batch_size=3)
    total, count = by_hand(model, ids, window, stride)
    assert sum(w.end - w.score_from for w in windows) == count
    assert nll.sum() == pytest.approx(total, rel=1e-5)


def test_the_batch_size_changes_nothing_but_the_last_bits() -> None:
    windows = make_windows(len(IDS), 32, 16)
    one_by_one = window_nll(pico.gpt2(), IDS, windows, 1)
    assert window_nll(pico.gpt2(), IDS, windows, 64) == pytest.approx(one_by_one, rel=1e-5)


def test_auto_gives_what_one_window_at_a_time_does() -> None:
    windows = make_windows(len(IDS), 32, 16)
    one_by_one = window_nll(pico.gpt2(), IDS, windows, 1)
    assert window_nll(pico.gpt2(), IDS, windows, "auto") == pytest.approx(one_by_one, rel=1e-6)


@pytest.mark.parametrize("elements", [300 * 5, 300 * 17, 300, 1, 1 << 24])
def test_a_batch_is_one_pass_whose_logits_are_cast_in_slices(
    monkeypatch: pytest.MonkeyPatch, elements: int
) -> None:
    windows = make_windows(len(IDS), 64, 48)  # of 64, 64 and 54 tokens, two shapes scored 48
    whole = window_nll(pico.gpt2(), IDS, windows, 1)
    passes: list[int] = []
    cast: list[int] = []
    model, real = pico.gpt2(), torch.nn.functional.cross_entropy
    model.register_forward_hook(lambda _m, _i, out: passes.append(len(out.logits)))

    def seen(logits: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        assert logits.dtype == torch.float32
        cast.append(logits.numel())
        return real(logits, *rest, **more)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", seen)
    monkeypatch.setattr(likelihood, "SLICE", elements)
    assert window_nll(model, IDS, windows, 4) == pytest.approx(whole, rel=1e-6)
    assert passes == [1] * len(windows)
    assert max(cast) <= max(elements, 300)


def test_a_vocabulary_of_a_quarter_million_is_read_by_one_pass() -> None:
    """Two slices for a window of 70 positions; against the definition in fp64."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=262_144, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=1, initializer_range=0.5,
        )
    ).eval()  # fmt: skip
    ids = torch.randint(0, 262_144, (140,), generator=torch.Generator().manual_seed(1))
    passes: list[int] = []
    hook = model.register_forward_hook(lambda _m, _i, out: passes.append(len(out.logits)))
    found = window_nll(model, ids, make_windows(140, 70, 70), "auto")
    assert passes == [2]
    hook.remove()
    for nll, row in zip(found, ids.split(70), strict=True):
        with torch.no_grad():
            logs = torch.log_softmax(model(row[None]).logits[0].double(), -1)
        wanted = -logs[:-1].gather(1, row[1:, None]).sum().item()
        assert nll == pytest.approx(wanted, rel=1e-6)


def test_logits_stay_in_the_models_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    model, windows = pico.llama().bfloat16(), make_windows(len(IDS), 32, 16)
    with torch.no_grad():
        logits = model(IDS[None, :32]).logits
    assert logits.dtype == torch.bfloat16
    wanted = torch.nn.functional.cross_entropy(logits[0, :-1].double(), IDS[1:32], reduction="sum")
    assert window_nll(model, IDS, windows, 1)[0] == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("length", "window", "stride"), [(2, 8, 4), (8, 8, 8), (9, 8, 4), (100, 10, 3), (100, 10, 9)]
)
def test_every_token_but_the_first_is_scored_once(length: int, window: int, stride: int) -> None:
    windows = make_windows(length, window, stride)
    scored = [t for w in windows for t in range(w.score_from, w.end)]
    assert scored == list(range(1, length))
    assert all(w.end - w.begin <= window and w.begin < w.score_from for w in windows if w.begin)
    assert [w.begin for w in windows] == list(range(0, stride * len(windows), stride))


@pytest.mark.parametrize(("length", "windows"), [(100, 10), (101, 10), (102, 11)])
def test_without_overlap_each_window_leaves_out_its_first_token(length: int, windows: int) -> None:
    spans = make_windows(length, 10, 10)
    scored = [t for w in spans for t in range(w.score_from, w.end)]
    assert len(spans) == windows
    assert scored == [t for t in range(length) if t % 10]


@pytest.mark.parametrize(
    ("length", "window", "stride", "before"),
    [(1, 8, 4, 1), (8, 8, 8, 1), (100, 10, 3, 2), (100, 10, 10, 1), (63, 32, 31, 1), (9, 2, 1, 1)],
)
def test_behind_a_begin_of_text_token_every_token_is_scored_once(
    length: int, window: int, stride: int, before: int
) -> None:
    windows = make_windows(length, window, stride, before=before)
    assert [t for w in windows for t in range(w.score_from, w.end)] == list(range(length))
    assert all(before + w.end - w.begin <= window for w in windows)
    step = min(stride, window - before)
    assert [w.begin for w in windows] == list(range(0, step * len(windows), step))


def test_no_window_changes_where_the_tokenizer_puts_nothing() -> None:
    """The windows of before, and what the model is fed: the same numbers to the last bit."""
    model, fed = pico.gpt2(), []
    model.register_forward_pre_hook(
        lambda _m, args, kwargs: fed.append((args[0].tolist(), kwargs)), with_kwargs=True
    )
    windows = make_windows(len(IDS), 64, 32)
    assert [tuple(w) for w in windows] == [(0, 1, 64), (32, 64, 96), (64, 96, 128), (96, 128, 150)]
    window_nll(model, IDS, windows, 8)
    rows = [IDS[w.begin : w.end].tolist() for w in windows]
    assert fed == [
        (rows[:1], {"logits_to_keep": 64}),
        (rows[1:3], {"logits_to_keep": 33}),
        (rows[3:], {"logits_to_keep": 23}),
    ]


def perplexity(nll: np.ndarray, tokens: np.ndarray) -> float:
    windows = Windows(pd.DataFrame({"nll": nll, "tokens": tokens}))
    return float(perplexity_per_token(windows, np.ones((1, len(nll))))[0])


def test_a_window_without_a_number_is_refused() -> None:
    with pytest.raises(UserError, match="NaN or infinite NLL in 1 of 2 windows"):
        require_finite(np.array([1.0, np.nan]))


def test_a_uniform_model_has_the_vocabulary_as_perplexity() -> None:
    model = pico.gpt2()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    windows = make_windows(len(IDS), 64, 32)
    tokens = np.array([w.end - w.score_from for w in windows])
    assert perplexity(window_nll(model, IDS, windows, 8), tokens) == pytest.approx(300, rel=1e-5)


def test_what_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(UserError, match="window_tokens 65 exceeds the model's context of 64"):
        window_length(pico.gpt2(), 65, 8)
    with pytest.raises(UserError, match="stride_tokens 512 exceeds the window of 64"):
        window_length(pico.gpt2(), None, 512)
    with pytest.raises(UserError, match="1 token"):
        make_windows(1, 8, 4)
    with pytest.raises(UserError, match=r"0 token\(s\); at least 1"):
        make_windows(0, 8, 4, before=1)
    with pytest.raises(UserError, match="2 of which the tokenizer puts before a text"):
        make_windows(5, 2, 1, before=2)


def test_a_measurement_keeps_nll_and_counts(gpt2_base: Path, tmp_path: Path) -> None:
    text = " ".join(pico.texts(20, 9))
    (tmp_path / "corpus.txt").write_text(text)
    corpus = beside.manifest(tmp_path / "corpus.json", "corpus.txt")
    edit = pico.delta_edit(gpt2_base, pico.noise(pico.gpt2()), tmp_path / "edit")
    out = tmp_path / "perplexity.json"
    sizes = {"window_tokens": 32, "stride_tokens": 16, "dtype": "float32"}
    measure_perplexity(
        edit, gpt2_base, corpus, tmp_path / "corpus.txt",
        ["0.5", "1"], sizes, 8, "cpu", out,
    )  # fmt: skip
    record = read_json(tmp_path / "perplexity-scale1.json")
    frame = pd.read_parquet(tmp_path / "perplexity-scale1.parquet")
    count = len(pico.tokenizer()(text)["input_ids"]) - 1
    assert record["num_tokens_scored"] == frame["tokens"].sum() == count
    assert record["nll_sum_nats"] == pytest.approx(frame["nll"].sum())
    assert read_json(out)["files"].keys() == {"perplexity-scale0.5.json", "perplexity-scale1.json"}


@pytest.mark.parametrize("template", ["<end> $A", "<end> $A <end>", "$A <end>"])
@pytest.mark.parametrize(("window", "stride"), [(32, 16), (20, 20), (64, 64)])
def test_every_window_begins_as_the_tokenizer_begins_a_text(
    template: str, window: int, stride: int, tmp_path: Path
) -> None:
    model, tokenizer = pico.llama(), pico.tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<end>", 0)]
    )
    base = pico.base(model, tmp_path)
    tokenizer.save_pretrained(tmp_path / "model")
    text = " ".join(pico.texts(12, 9))
    (tmp_path / "corpus.txt").write_text(text)
    beside.manifest(tmp_path / "corpus.json", "corpus.txt")
    sizes = {"window_tokens": window, "stride_tokens": stride, "dtype": "float32"}
    out = tmp_path / "perplexity.json"
    measure_perplexity(
        base, base, tmp_path / "corpus.json", tmp_path / "corpus.txt", ["0"], sizes, 8, "cpu", out
    )
    record = read_json(tmp_path / "perplexity-scale0.json")
    ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    if template.startswith("<end>"):
        total, scored = 0.0, 0
        for begin in range(0, len(ids), min(stride, window - 1)):
            row = torch.cat([torch.tensor([0]), ids[begin : begin + window - 1]])
            with torch.no_grad():
                logs = torch.log_softmax(model(row[None]).logits[0].double(), -1)
            new = range(1 + scored - begin, len(row))
            total -= sum(logs[t - 1, row[t]].item() for t in new)
            scored = begin + len(row) - 1
            if scored == len(ids):
                break
        count = len(ids)
    else:
        total, count = by_hand(model, ids, window, stride)
    assert record["num_tokens_scored"] == count
    assert record["nll_sum_nats"] == pytest.approx(total, rel=1e-5)
    assert record["num_tokens_before_window"] == int(template.startswith("<end>"))
