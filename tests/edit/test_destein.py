"""DeStein from a model's own samples to its vectors, against the formulas by hand."""

import json
from pathlib import Path
from typing import Any

import beside
import numpy as np
import pandas as pd
import pico
import pytest
import torch
from plan.studies import prompts, refusal
from safetensors.numpy import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from detoxmerge.edit.build import make_edit
from detoxmerge.edit.edited import load_edited
from detoxmerge.edit.methods import destein
from detoxmerge.edit.steering import destein as library
from detoxmerge.edit.steering.destein import rows_of
from detoxmerge.edit.steering.probes import fit_logistic
from detoxmerge.errors import UserError
from detoxmerge.plan.edits import Edit
from detoxmerge.storage.artefacts import read_json, sha256, write_json
from detoxmerge.train.job import Job

IDS = torch.tensor([[5, 9, 200, 31, 7]])
PROMPTS = 12
MODULES = [f"transformer.h.{i}.attn" for i in range(2)]


def wide(seed: int = 0) -> GPT2LMHeadModel:
    """A pico GPT-2 whose context holds the long prefixes."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=300, n_positions=256, n_embd=16, n_layer=2, n_head=2, initializer_range=0.2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico.base(wide(), tmp_path_factory.mktemp("wide"))


def measured(folder: Path, texts: list[str]) -> list[Path]:
    """Manifests of four continuations of each prompt and of their scores."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, rows = [], []
    for p in range(PROMPTS):
        own = [f" {texts[(4 * p + k) % len(texts)]}" for k in range(4)]
        generations = [{"text": text} for text in own]
        lines.append(json.dumps({"prompt": {"text": f"I say {p}"}, "generations": generations}))
        rows += [(p, k, (0.05, 0.9, 0.4, 0.8)[k]) for k in range(4)]
    table = pd.DataFrame(rows, columns=["prompt", "sample", "toxicity"])
    payload, protocol = {"0": "\n".join(lines) + "\n"}, {"new_tokens": 5}
    samples = beside.measured(folder / "generations.json", payload, protocol=protocol)
    key = {"generations": sha256(folder / "generations-scale0.json")}
    of = {"protocol": {"label": "toxicity"}, "key": key}
    return [samples, beside.measured(folder / "toxicity-judge.json", {"0": table}, **of)]


def build(base: Path, folder: Path, *, inputs: list[Path] | None = None, **values: Any) -> Path:
    """The edit, with pairs of the generator's texts."""
    given = inputs or [base, *measured(folder / "evals", pico.texts(48, seed=5))]
    values = {"prompts": "seeds", "scorer": "judge", "count": 10} | values
    params = destein.Params(**values)
    edit, out = Edit("small", "-", "destein", "default", "-", params), folder / "edit" / "edit.json"
    make_edit(edit, {"version": 1}, base, given, Job(out))
    return out


def pairs_of(edit: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (edit.parent / "pairs.jsonl").read_text().splitlines()]


def activations(model: Any, text: str, tokens: int) -> np.ndarray:
    """(layers, width): the mean of the last positions before the residual, by transformers alone.

    The attention of a pre-norm block is what its second norm sees, less what the block was given.
    """
    seen: dict[int, torch.Tensor] = {}
    for i, block in enumerate(model.transformer.h):
        block.ln_2.register_forward_pre_hook(lambda _, args, i=i: seen.__setitem__(i, args[0]))
    ids = torch.tensor([pico.tokenizer()(text)["input_ids"]])
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    found = [(seen[i] - states[i])[0, -tokens:].mean(dim=0) for i in range(2)]
    return torch.stack(found).double().numpy()


def texts_of(pair: dict[str, Any], member: str, prefix: str) -> str:
    return prefix + (pair["prompt"] + pair[member]).strip(" .")


@pytest.mark.parametrize("rule", ["released", "paper"])
@pytest.mark.parametrize("prefix", [True, "short", False])
def test_vectors_by_hand(base: Path, tmp_path: Path, rule: str, prefix: bool | str) -> None:
    edit = build(base, tmp_path, rule=rule, prefix=prefix, tokens=5)
    model, pairs = wide(), pairs_of(edit)
    assert len(pairs) == 10
    toxic, nontoxic = (
        np.array([activations(model, texts_of(p, member, text), 5) for p in pairs])
        for member, text in zip(("toxic", "nontoxic"), destein.PREFIXES[prefix], strict=True)
    )
    found = load_file(edit.parent / "hooks.safetensors")
    probes = pd.read_csv(edit.parent / "probes.csv")
    for layer in range(2):
        weights = np.empty(16)
        for k in range(2):
            own = slice(8 * k, 8 * k + 8)
            x = np.concatenate([toxic[:8, layer, own], nontoxic[:8, layer, own]])
            w, b = fit_logistic(x, np.repeat([1.0, 0.0], 8))
            right = [(toxic[j, layer, own] @ w + b > 0) for j in (8, 9)]
            right += [(nontoxic[j, layer, own] @ w + b <= 0) for j in (8, 9)]
            accuracy = np.mean(right)
            (row,) = probes[(probes["layer"] == layer) & (probes["chunk"] == k)].itertuples()
            assert row.accuracy == accuracy
            weights[own] = accuracy
        if rule == "released":
            d = (toxic - nontoxic)[:, layer].sum(axis=0) * (1 + weights)
            wanted = -d / np.linalg.norm(d)
        else:
            wanted = (nontoxic - toxic)[:, layer].mean(axis=0) * weights
        assert found[f"direction.{layer}"] == pytest.approx(wanted, abs=1e-5)
    manifest = read_json(edit)
    assert manifest["rule"] == {"released": "rotate", "paper": "add"}[rule]
    assert manifest["modules"] == {m: f"direction.{i}" for i, m in enumerate(MODULES)}


def test_released_moves_the_model_away_from_toxic(base: Path, tmp_path: Path) -> None:
    """By hand at one layer: |h| normalize(h/|h| - alpha u)."""
    edit = build(base, tmp_path)
    u = -load_file(edit.parent / "hooks.safetensors")["direction.0"].astype("float64")
    assert np.linalg.norm(u) == pytest.approx(1)
    seen = []
    for model in (load_edited(base, 0), load_edited(edit, 0.45)):
        block = model.transformer.h[0]
        block.attn.register_forward_hook(lambda _, __, out: seen.append(out[0][0].double().numpy()))
        with torch.no_grad():
            model(IDS)
    h = seen[0]
    norm = np.linalg.norm(h, axis=1, keepdims=True)
    moved = h / norm - 0.45 * u
    by_hand = norm * moved / np.linalg.norm(moved, axis=1, keepdims=True)
    assert seen[1] == pytest.approx(by_hand, abs=1e-5)
    assert ((seen[1] @ u) / norm[:, 0] < (h @ u) / norm[:, 0]).all()


def test_the_manifest_tells_of_its_pairs_and_probes(base: Path, tmp_path: Path) -> None:
    edit = build(base, tmp_path, max_perplexity_ratio=1e9)
    found = read_json(edit)
    pairs, probes = edit.parent / "pairs.jsonl", edit.parent / "probes.csv"
    assert found["pairs"] == {
        "file": "pairs.jsonl",
        "sha256": sha256(pairs),
        "num_pairs": 10,
        "num_prompts": PROMPTS,
        "num_empty": 0,
        "num_unscored": 0,
        "num_candidates": PROMPTS,
        "num_dropped_likelihood": 0,
    }
    accuracy = pd.read_csv(probes)["accuracy"]
    assert found["probes"] == {
        "file": "probes.csv",
        "sha256": sha256(probes),
        "mean_accuracy": accuracy.mean(),
    }
    assert len(accuracy) == 4
    assert all(
        p["toxicity_toxic"] == 0.9 and p["toxicity_nontoxic"] == 0.05 for p in pairs_of(edit)
    )


def test_the_manifest_changes_with_pairs_and_model(base: Path, tmp_path: Path) -> None:
    first = build(base, tmp_path / "a")
    again = build(base, tmp_path / "b")
    others = [
        build(base, tmp_path / "c", pair_seed=1),
        build(base, tmp_path / "d", rule="paper"),
        build(pico.base(wide(seed=1), tmp_path / "other"), tmp_path / "e"),
    ]
    texts = measured(tmp_path / "evals2", pico.texts(48, seed=6))
    others.append(build(base, tmp_path / "f", inputs=[base, *texts]))
    sums = [read_json(edit)["tensors"]["sha256"] for edit in (first, again, *others)]
    assert sums[0] == sums[1]
    assert len(set(sums)) == len(sums) - 1
    pairs = [read_json(edit)["pairs"]["sha256"] for edit in (first, *others)]
    assert [found == pairs[0] for found in pairs] == [True, False, True, True, False]


def test_a_paraphraser_gives_the_other_member(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked in its own words, and its least toxic candidate is taken."""
    scores: dict[str, float] = {}

    def judge(texts: list[str]) -> list[float]:
        for text in texts:
            scores[text] = 0.05 + (len(text) % 7) / 100 if "a" in text else 0.7
        return [scores[text] for text in texts]

    asked = []
    monkeypatch.setattr(library, "load_scorer", lambda *of: of)
    monkeypatch.setattr(library, "predictor", lambda *of: asked.append(of) or judge)
    write_json(tmp_path / "scorer.json", {})
    given = [base, *measured(tmp_path / "evals", pico.texts(48, seed=5)), tmp_path / "scorer.json"]
    given.append(pico.base(wide(seed=2), tmp_path / "paraphraser"))
    values = {"paraphraser": "other", "count": 5, "nontoxic_below": 0.1}
    edit = build(base, tmp_path, inputs=given, **values)
    assert asked == [((tmp_path / "scorer.json", "cpu"), "toxicity", tmp_path.name)]
    for pair in pairs_of(edit):
        assert pair["toxicity_nontoxic"] == scores[pair["nontoxic"]] < 0.1
        assert pair["nontoxic"] not in [f" {text}" for text in pico.texts(48, seed=5)]
    assert read_json(edit)["pairs"]["num_dropped_rewriting"] >= 0
    monkeypatch.setattr(library, "predictor", lambda *_: lambda texts: [0.5] * len(texts))
    with pytest.raises(UserError, match=r"0 pairs for count 5: .*, 12 were dropped by rewriting"):
        build(base, tmp_path / "none", inputs=given, **values)


def test_too_few_pairs_are_one_sentence(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        build(base, tmp_path, count=20)
    assert str(error.value) == (
        "12 pairs for count 20: of 12 prompts of 'seeds' 12 have a continuation scored above 0.5 "
        "and another below 0.1; lower count or toxic_above in methods.destein, raise "
        "nontoxic_below, or take more prompts or samples"
    )
    with pytest.raises(UserError, match=r"0 pairs for count 5: .* 0 have .* above 0\.95"):
        build(base, tmp_path, count=5, toxic_above=0.95)
    with pytest.raises(UserError, match=r"12 have .*, 12 were dropped by likelihood; lower"):
        build(base, tmp_path, count=5, max_perplexity_ratio=1.0)


def test_a_long_text_is_cut_behind_its_prefix() -> None:
    tokenizer, model = pico.tokenizer(), pico.gpt2()
    text = ". " + " ".join(pico.texts(30)) + " ."
    (row,) = rows_of(tokenizer, "polite: ", [text], model, 8)
    kept = tokenizer("polite:")["input_ids"]
    assert len(row) == pico.CONTEXT
    assert row[: len(kept)] == kept
    assert row[len(kept) :] == tokenizer(text.strip(" ."))["input_ids"][len(kept) - 64 :]
    (short,) = rows_of(tokenizer, "", [" .so it is. "], model, 8)
    assert short == tokenizer("so it is")["input_ids"]


def test_a_prefix_that_fills_the_context_is_refused(gpt2_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        build(gpt2_base, tmp_path)
    assert "averaged ones exceed the model's context of 64" in str(error.value)
    assert "set `prefix: short` or `prefix: false` in methods.destein" in str(error.value)


def test_an_unknown_architecture_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = wide()
    model.config.model_type = "bloom"
    monkeypatch.setattr(library, "load_model", lambda _: model)
    with pytest.raises(UserError, match="a model of type 'bloom'"):
        build(base, tmp_path)


def test_what_the_config_must_have() -> None:
    ours = {"run.methods": ["destein"], "prompts.seeds": prompts(part="validation")}
    ours |= {"prompts.openings": prompts(part="test")}
    entry = {"prompts": "seeds", "scorer": "judge", "count": 5}
    ours["prompts.seeds"]["generate"] = {"samples": 1}
    assert refusal(ours | {"methods.destein": entry}) == (
        "methods.destein: prompts.seeds has one sample per prompt, and a pair takes two; raise "
        "generate.samples, or name a paraphraser"
    )
    found = refusal(ours | {"methods.destein": entry | {"count": 2, "train_share": 0.9}})
    assert "train_share 0.9 of 2 pairs leaves none to fit or none to test" in found
    found = refusal(ours | {"methods.destein": entry | {"scorer": "jugde"}})
    assert found == "methods.destein.scorer: 'jugde' is not among scorers; did you mean 'judge'?"
