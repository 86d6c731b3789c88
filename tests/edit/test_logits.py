"""Combined next-token logits: the formulas, positions and caches, and what is refused."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pico
import pytest
import torch
from transformers import AutoTokenizer

from detoxmerge.edit.build import make_edit
from detoxmerge.edit.edited import EditedModel, load_edited
from detoxmerge.edit.methods import dexperts, preadd, self_debias
from detoxmerge.errors import UserError
from detoxmerge.measure import perplexity
from detoxmerge.models import decoding, likelihood
from detoxmerge.models import sampling as sampling_module
from detoxmerge.models.decoding import decode
from detoxmerge.models.sampling import continuations
from detoxmerge.plan.catalogue import Generation
from detoxmerge.plan.edits import Edit
from detoxmerge.plan.entries import protocol
from detoxmerge.plan.registry import METHODS
from detoxmerge.storage.artefacts import read_json, sha256, write_manifest
from detoxmerge.train.job import Job

# as many rows as there are prefixes: a copy of a row that had another's prefix would be seen
IDS = torch.tensor([[5, 9, 200, 31, 7], [11, 12, 13, 14, 15], [21, 3, 23, 24, 25]])
BEGIN = torch.tensor([[0, 9, 200, 31, 7]])  # a begin-of-text token in front
PROMPTS = ["The gardener", "Yesterday we talked about the", "I", "My neighbour"]
SETTINGS = {
    "dexperts": {},
    "preadd": {"prefix": "short"},
    "self_debias": {"prefixes": "short"},
}
SCALES = {"dexperts": 1.5, "preadd": 1.5, "self_debias": 20.0}


@pytest.fixture(params=["gpt2", "llama"])
def base(request: pytest.FixtureRequest) -> Path:
    """Manifest of a tied and of an untied architecture."""
    return request.getfixturevalue(f"{request.param}_base")


@pytest.fixture(params=sorted(SETTINGS))
def made(request: pytest.FixtureRequest, base: Path, tmp_path: Path) -> tuple[EditedModel, float]:
    """An edit of each method, and a scale."""
    name = request.param
    inputs = [fine_tune(base, tmp_path / "shard")] if name == "dexperts" else [base]
    path = build(name, base, inputs, tmp_path / "edit", **SETTINGS[name])
    return EditedModel(path, device="cpu"), SCALES[name]


def model_of(base: Path) -> Any:
    """A copy of a base model, to be called by hand."""
    return load_edited(base, 0)


def moved(base: Path, seed: int) -> Any:
    """The base with a random vector added."""
    model = model_of(base)
    with torch.no_grad():
        for name, noise in pico.noise(model, seed=seed, size=0.05).items():
            model.get_parameter(name).add_(noise)
    return model


def fine_tune(base: Path, folder: Path, seed: int = 3) -> Path:
    """The manifest of a shard's fine-tune, which is `moved(base, seed)`."""
    edit = pico.delta_edit(base, pico.noise(model_of(base), seed=seed, size=0.05), folder)
    files = {"delta.safetensors": sha256(folder / "delta.safetensors")}
    write_manifest(folder / "meta.json", protocol={}, inputs=[base], files=files)
    edit.unlink()
    return folder / "meta.json"


def build(name: str, base: Path, inputs: list[Path], folder: Path, **values: Any) -> Path:
    """Build an edit as the workflow does."""
    params = METHODS[name].Params(**values)
    edit = Edit(model="m", dataset="-", method=name, setting="s", seed="-", params=params)
    make_edit(edit, {"version": 1}, base, inputs, Job(folder / "edit.json"))
    return folder / "edit.json"


@torch.no_grad()
def behind(base: Path, prefix: str, ids: torch.Tensor = IDS) -> torch.Tensor:
    """Logits at the places of `ids`, of the base that reads a prefix first."""
    tokens = torch.tensor([pico.tokenizer()(prefix)["input_ids"]] * len(ids))
    return model_of(base)(torch.cat([tokens, ids], dim=1)).logits[:, tokens.shape[1] :]


@torch.no_grad()
def test_dexperts_is_the_contrast_of_its_paper(base: Path, tmp_path: Path) -> None:
    shard = fine_tune(base, tmp_path / "shard")
    found = load_edited(build("dexperts", base, [shard], tmp_path / "edit"), 2.0)(IDS).logits
    z, anti = model_of(base)(IDS).logits, moved(base, 3)(IDS).logits
    torch.testing.assert_close(found, 3 * z - 2 * anti)


@torch.no_grad()
def test_dexperts_with_an_expert_takes_it_in_the_bases_place(base: Path, tmp_path: Path) -> None:
    shard = fine_tune(base, tmp_path / "shard")
    expert = pico.delta_edit(base, pico.noise(model_of(base), seed=4, size=0.05), tmp_path / "x")
    changed = read_json(expert) | {"sign": 1}
    write_manifest(expert, protocol={}, **{k: changed[k] for k in changed if k != "protocol"})
    path = build("dexperts", base, [shard, expert], tmp_path / "edit", expert="nontoxic")
    found = load_edited(path, 2.0)(IDS).logits
    z, good, bad = (m(IDS).logits for m in (model_of(base), moved(base, 4), moved(base, 3)))
    torch.testing.assert_close(found, z + 2 * (good - bad))


@torch.no_grad()
def test_dexperts_of_a_smaller_model(gpt2_base: Path, tmp_path: Path) -> None:
    small = pico.base(pico.gpt2(width=8), tmp_path / "small")
    shard = fine_tune(small, tmp_path / "shard")
    inputs = [shard, gpt2_base, small]
    path = build("dexperts", gpt2_base, inputs, tmp_path / "edit", model="small")
    found = load_edited(path, 2.0)(IDS).logits
    torch.testing.assert_close(
        found, 3 * model_of(gpt2_base)(IDS).logits - 2 * moved(small, 3)(IDS).logits
    )


@torch.no_grad()
def test_preadd_is_the_contrast_of_its_paper(base: Path, tmp_path: Path) -> None:
    path = build("preadd", base, [base], tmp_path, prefix="short")
    z, prefixed = model_of(base)(IDS).logits, behind(base, preadd.PREFIXES["short"])
    found = load_edited(path, 0.7)(IDS).logits
    torch.testing.assert_close(found, z - 0.7 * (prefixed - z))


@torch.no_grad()
def test_self_debias_is_the_formula_of_its_paper(base: Path, tmp_path: Path) -> None:
    path = build("self_debias", base, [base], tmp_path, prefixes="short")
    p = model_of(base)(IDS).logits.softmax(dim=-1)
    prefixed = [behind(base, text).softmax(dim=-1) for text in self_debias.PREFIXES["short"]]
    worse = (torch.stack(prefixed).amax(dim=0) - p).clamp(min=0)
    wanted = p * torch.exp(-500 * worse).clamp(min=0.01)
    found = load_edited(path, 500)(IDS).logits.softmax(dim=-1)
    torch.testing.assert_close(found, wanted / wanted.sum(dim=-1, keepdim=True))
    assert (torch.exp(-500 * worse) < 0.01).any()  # so that epsilon has a part


@torch.no_grad()
def test_a_prefix_stands_after_a_begin_of_text_token(base: Path, tmp_path: Path) -> None:
    """Both in one batch: a row that has one, and a row that has none."""
    text = preadd.PREFIXES["short"]
    tokens = pico.tokenizer()(text)["input_ids"]
    edited = load_edited(build("preadd", base, [base], tmp_path, prefix="short"), 1.0)
    z = model_of(base)(BEGIN).logits
    inside = torch.cat([BEGIN[:, :1], torch.tensor([tokens]), BEGIN[:, 1:]], dim=1)
    prefixed = model_of(base)(inside).logits[:, len(tokens) :]
    both = edited(torch.cat([BEGIN, IDS])).logits
    torch.testing.assert_close(both[:1], 2 * z - prefixed)
    torch.testing.assert_close(both[1:], edited(IDS).logits)


@torch.no_grad()
def test_scale_0_is_the_base_bit_for_bit(made: tuple[EditedModel, float], base: Path) -> None:
    edited, scale = made
    wanted = model_of(base)(IDS).logits
    assert torch.equal(edited.at(0)(IDS).logits, wanted)
    assert not torch.equal(edited.at(scale)(IDS).logits, wanted)
    assert not torch.equal(edited.at(scale)(IDS).logits, edited.at(scale / 2)(IDS).logits)
    assert torch.equal(edited.at(0)(IDS).logits, wanted)
    assert edited.verb.forwards(0) == 1 < edited.verb.forwards(scale)


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(made: tuple[EditedModel, float]) -> None:
    edited, scale = made
    model = edited.at(scale)
    for ids in (IDS[:1], BEGIN):
        padded = torch.cat([torch.full((1, 3), 17), ids], dim=1)
        mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        found = model(padded, attention_mask=mask, position_ids=positions).logits[:, 3:]
        torch.testing.assert_close(found, model(ids).logits)


def test_generation_does_not_depend_on_the_batch(made: tuple[EditedModel, float]) -> None:
    edited, scale = made
    model, asked = edited.at(scale), edited.sampling(scale)
    sampling = protocol(Generation(samples=3, new_tokens=6))
    one, many = (
        continuations(model, pico.tokenizer(), PROMPTS, sampling, size, asked) for size in (1, 5)
    )
    assert one == many


@torch.no_grad()
def test_a_cache_changes_nothing(made: tuple[EditedModel, float]) -> None:
    edited, scale = made
    model = edited.at(scale)
    ids = torch.cat([IDS, IDS + 20, IDS + 40], dim=1)
    first = model(ids[:, :6], use_cache=True)
    for step in range(6, 15):
        out = model(ids[:, step : step + 1], past_key_values=first.past_key_values, use_cache=True)
        wanted = model(ids[:, : step + 1], use_cache=False, logits_to_keep=1).logits
        torch.testing.assert_close(out.logits, wanted)
    assert out.logits.shape == (3, 1, 300)


def test_perplexity_in_slices_is_that_of_the_whole(
    made: tuple[EditedModel, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    edited, scale = made
    ids = torch.arange(1, 61)
    windows = perplexity.make_windows(60, 30, 15)
    whole = perplexity.window_nll(edited.at(scale), ids, windows, 2)
    monkeypatch.setattr(likelihood, "SLICE", 7 * 300)
    slices = perplexity.window_nll(edited.at(scale), ids, windows, 2)
    assert slices == pytest.approx(whole, rel=1e-5)
    assert perplexity.window_nll(edited.at(0), ids, windows, 2) != pytest.approx(whole, rel=1e-3)


def test_text_that_does_not_fit_behind_the_prefix_is_one_sentence(
    gpt2_base: Path, tmp_path: Path
) -> None:
    prefix = len(pico.tokenizer()(preadd.PREFIXES["short"])["input_ids"])
    path = build("preadd", gpt2_base, [gpt2_base], tmp_path, prefix="short")
    edited = EditedModel(path, device="cpu")
    model, left = edited.at(1.0), pico.CONTEXT - prefix
    assert model(torch.ones(1, left, dtype=torch.long)).logits.shape[1] == left
    with pytest.raises(UserError, match=rf"{left + 1} tokens .* {prefix} of a prefix .* 64; lower"):
        model(torch.ones(1, left + 1, dtype=torch.long))
    sampling = protocol(Generation(samples=1, new_tokens=left))  # said before anything is sampled
    with pytest.raises(UserError, match=rf"context of 64 less {prefix} that the edit takes"):
        continuations(model, pico.tokenizer(), PROMPTS, sampling, 4, edited.sampling(1.0))
    assert edited.sampling(0).context_taken == 0


@pytest.mark.parametrize("size", [1, 64])
def test_nothing_outside_of_the_bases_nucleus_is_sampled(
    gpt2_base: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = fine_tune(gpt2_base, tmp_path / "shard")
    sampling = protocol(Generation(samples=8, new_tokens=8, top_p=1.0))

    def outside(top_p: float) -> int:
        path = build("dexperts", gpt2_base, [shard], tmp_path / str(top_p), base_top_p=top_p)
        edited = EditedModel(path, device="cpu")
        model, asked = edited.at(4.0), edited.sampling(4.0)
        base, count = model_of(gpt2_base), 0

        def checked(model: Any, prompts: Any, samples: Any, *others: Any, **more: Any) -> Any:
            nonlocal count
            new = decode(model, prompts, samples, *others, **more)
            starts = [row for row, k in zip(prompts, samples, strict=True) for _ in range(k)]
            for start, row in zip(starts, new, strict=True):
                for i, token in enumerate(row):
                    p = base(torch.tensor([start + row[:i]])).logits[0, -1].softmax(dim=-1)
                    count += bool(p[p > p[token]].sum() > 0.5 + 1e-4)
            return new

        monkeypatch.setattr(sampling_module, "decode", checked)
        with torch.no_grad():
            continuations(model, pico.tokenizer(), PROMPTS, sampling, size, asked)
        return count

    assert outside(0.5) == 0 < outside(1.0)


def test_the_manifest_changes_with_the_vector_of_an_expert(gpt2_base: Path, tmp_path: Path) -> None:
    first = build("dexperts", gpt2_base, [fine_tune(gpt2_base, tmp_path / "shard")], tmp_path / "e")
    before = read_json(first)
    again = build(
        "dexperts", gpt2_base, [fine_tune(gpt2_base, tmp_path / "shard", seed=5)], tmp_path / "e"
    )
    after = read_json(again)
    assert before["inputs"] != after["inputs"]
    assert before["helpers"]["anti"]["sha256"] != after["helpers"]["anti"]["sha256"]
    assert before["helpers"]["anti"]["delta"] == "../shard/delta.safetensors"


def test_models_of_different_tokenizers_are_one_sentence(gpt2_base: Path, tmp_path: Path) -> None:
    other = pico.base(pico.gpt2(), tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(other.parents[1] / "model")
    tokenizer.add_tokens(["<other>"])
    tokenizer.save_pretrained(other.parents[1] / "model")
    inputs = [fine_tune(other, tmp_path / "shard"), gpt2_base, other]
    with pytest.raises(UserError, match=r"'<other>' is missing in .* and 300 in .*; choose"):
        build("dexperts", gpt2_base, inputs, tmp_path / "edit", model="other")


def test_models_of_different_numbers_of_logits_are_one_sentence(
    gpt2_base: Path, tmp_path: Path
) -> None:
    model = pico.gpt2()
    model.resize_token_embeddings(304)
    other = pico.base(model, tmp_path / "other")
    inputs = [fine_tune(other, tmp_path / "shard"), gpt2_base, other]
    with pytest.raises(UserError, match=r"has 300 logits and .* 304"):
        build("dexperts", gpt2_base, inputs, tmp_path / "edit", model="other")


def test_a_vector_of_another_model_is_one_sentence(gpt2_base: Path, tmp_path: Path) -> None:
    other = pico.base(pico.gpt2(width=8), tmp_path / "other")
    path = build("dexperts", gpt2_base, [fine_tune(other, tmp_path / "shard")], tmp_path / "edit")
    with pytest.raises(UserError, match=r"do not belong to the same model.*\[48\].*\[24\]"):
        load_edited(path, 1.0)


@torch.no_grad()
def test_caches_that_the_helpers_cannot_follow_are_refused(made: tuple[EditedModel, float]) -> None:
    edited, scale = made
    begun = edited.at(0)(IDS, use_cache=True).past_key_values
    model = edited.at(scale)
    with pytest.raises(ValueError, match="not made by the edited model"):
        model(IDS[:, :1], past_key_values=begun, use_cache=True)
    own = model(IDS, use_cache=True).past_key_values
    copied = copy.deepcopy(own)
    model(IDS[:, :1], past_key_values=copied, use_cache=True)
    own.crop(-2)
    with pytest.raises(ValueError, match="was cropped"):
        model(IDS[:, :1], past_key_values=own, use_cache=True)
    with pytest.raises(NotImplementedError, match="only be moved by reorder_cache"):
        model(IDS, use_cache=True).past_key_values.batch_repeat_interleave(2)
    with pytest.raises(ValueError, match="no labels"):
        model(IDS, labels=IDS)


def test_helpers_read_a_long_prefix_of_all_prompts_once_too(
    made: tuple[EditedModel, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    edited, scale = made
    prefix = "Yes yes yes yes yes yes "
    sampling = protocol(Generation(samples=3, new_tokens=6, prefix=prefix))
    tokenizer = pico.tokenizer()
    assert decoding.PREFIX < len(tokenizer(prefix)["input_ids"]) < 24

    def run(size: int) -> Any:
        asked = edited.sampling(scale)
        return continuations(edited.at(scale), tokenizer, PROMPTS[:3], sampling, size, asked)

    once = run(64)
    assert once == run(1)  # a row alone reads all of it
    monkeypatch.setattr(decoding, "PREFIX", 1000)
    assert once == run(64)


@torch.no_grad()
def test_the_helpers_follow_when_rows_are_moved(made: tuple[EditedModel, float]) -> None:
    """As in the search with beams, whose rows are moved at every step."""
    edited, scale = made
    model, beams = edited.at(scale), {"num_beams": 3, "max_new_tokens": 6, "pad_token_id": 0}
    cached = model.generate(IDS, **beams)
    assert cached.equal(model.generate(IDS, use_cache=False, **beams))


def test_dexperts_asks_for_its_experts() -> None:
    asked = SimpleNamespace(
        shard=lambda recipe, n, shard, model: f"{model}/{recipe}/n{n}/shard{shard}",
        edit=lambda method, values, model: f"{model}/{method}/{values['recipe']}",
        base=lambda model="own": f"{model}/base",
    )
    found = dexperts.inputs(dexperts.Params(), asked)
    assert found == ["None/default/n1/shard0"]
    params = dexperts.Params(expert="nontoxic", model="small", recipe="toy")
    assert dexperts.inputs(params, asked) == [
        "small/toy/n1/shard0", "small/finetune_nontoxic/toy", "own/base", "small/base",
    ]  # fmt: skip
