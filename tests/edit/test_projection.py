"""ProFS against explicit matrices by numpy, for both layouts of weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pico
import pytest
import torch
from plan.studies import refusal
from safetensors.numpy import load_file

from detoxmerge.edit.build import make_edit
from detoxmerge.edit.edited import load_edited
from detoxmerge.edit.methods import profs
from detoxmerge.edit.steering.projection import edited_layers, projected, subspace
from detoxmerge.errors import UserError
from detoxmerge.plan.edits import Edit
from detoxmerge.storage.artefacts import read_json, sha256, write_json
from detoxmerge.train.job import Job

RANDOM = np.random.default_rng(0)
VALUES = {"gpt2": "transformer.h.{}.mlp.c_proj.weight", "llama": "model.layers.{}.mlp.down_proj.weight"}  # fmt: skip # noqa: E501


def dataset(folder: Path, toxic: list[str], nontoxic: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for part, texts in (("toxic", toxic), ("nontoxic", nontoxic)):
        file = folder / f"{part}.parquet"
        pd.DataFrame({"text": texts}).to_parquet(file)
        files[file.name] = sha256(file)
    write_json(folder / "dataset.json", {"files": files})
    return folder / "dataset.json"


def build(base: Path, folder: Path, *, data: Path | None = None, **values: Any) -> Path:
    """The edit of a random half of the generator's texts against the other."""
    data = data or dataset(folder / "rude", pico.texts(20, seed=7), pico.texts(20, seed=8))
    params = profs.Params(**{"pairs": 12, "from_share": 0.0} | values)
    edit, out = Edit("small", "rude", "profs", "default", "-", params), folder / "edit/edit.json"
    make_edit(edit, {"version": 1}, base, [base, data], Job(out))
    return out


def by_hand(preferred: np.ndarray, toxic: np.ndarray, rank: int) -> np.ndarray:
    """P, (d, d), by eigenvectors: those of X^T X are the right-singular vectors of X."""
    width = preferred.shape[1]
    u = np.linalg.eigh(preferred.T @ preferred)[1][:, -1]
    m = (preferred - toxic) / 2 @ (np.eye(width) - np.outer(u, u))
    return sum(np.outer(v, v) for v in np.linalg.eigh(m.T @ m)[1].T[::-1][:rank])


@pytest.mark.parametrize("rank", [1, 3])
def test_the_subspace_is_that_of_the_centred_difference(rank: int) -> None:
    preferred, toxic = RANDOM.standard_normal((2, 10, 6)) + 1
    found = subspace(preferred, toxic, rank)
    assert found.T @ found == pytest.approx(by_hand(preferred, toxic, rank), abs=1e-10)
    assert found @ found.T == pytest.approx(np.eye(rank), abs=1e-12)
    shared = np.linalg.svd(preferred)[2][0]
    assert found @ shared == pytest.approx(np.zeros(rank), abs=1e-12)


def test_the_subspace_finds_the_direction_that_was_put_in() -> None:
    shared, rude = np.eye(8)[0], np.eye(8)[5]
    preferred = 9 * shared + 0.01 * RANDOM.standard_normal((40, 8))
    found = subspace(preferred, preferred + 3 * rude + 4 * shared, 1)
    assert abs(found[0] @ rude) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("is_row", [True, False])
def test_a_projection_is_w_times_i_minus_p_and_idempotent(is_row: bool) -> None:
    weight = RANDOM.standard_normal((12, 6))  # rows are value vectors
    vectors = np.linalg.qr(RANDOM.standard_normal((6, 2)))[0].T
    given = weight if is_row else weight.T
    change = projected(given, vectors, is_row)
    wanted = weight @ (np.eye(6) - vectors.T @ vectors)
    after = (given + change) if is_row else (given + change).T
    assert after == pytest.approx(wanted, abs=1e-12)
    assert projected(given + change, vectors, is_row) == pytest.approx(0, abs=1e-12)
    assert after @ vectors.T == pytest.approx(np.zeros((12, 2)), abs=1e-12)


def states(model: Any, text: str) -> np.ndarray:
    """(layers, d): mean over positions behind each block, the last one before the final norm."""
    final = model.transformer.ln_f if hasattr(model, "transformer") else model.model.norm
    seen: list[torch.Tensor] = []
    handle = final.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    ids = torch.tensor([pico.tokenizer()(text)["input_ids"][:20]])
    with torch.no_grad():
        hidden = model(ids, output_hidden_states=True).hidden_states
    handle.remove()
    return torch.stack([hidden[1], seen[0]])[:, 0].double().mean(dim=1).numpy()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_an_edit_by_hand(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """All texts of the set are taken, so the choice is known but for the pairing."""
    base, model = request.getfixturevalue(f"{family}_base"), getattr(pico, family)()
    toxic, nontoxic = pico.texts(12, seed=7), pico.texts(12, seed=8)
    data = dataset(tmp_path / "rude", toxic, nontoxic)
    edit = build(base, tmp_path, data=data, rank=3, pair_seed=4, max_tokens=20)
    order = np.random.default_rng(4).permutation(12)
    rows = [np.array([states(model, t[i]) for i in order]) for t in (nontoxic, toxic)]
    delta, edited = load_file(edit.parent / "delta.safetensors"), load_edited(edit, 1.0)
    weights = dict(model.named_parameters())
    values = [VALUES[family].format(layer) for layer in range(2)]
    for layer, name in enumerate(values):
        p = by_hand(rows[0][:, layer], rows[1][:, layer], 3)
        w = weights[name].detach().numpy()
        wanted = -w @ p if family == "gpt2" else -p @ w
        assert delta[name] == pytest.approx(wanted, abs=1e-6)
        after = dict(edited.named_parameters())[name].detach().numpy()
        left = after @ p if family == "gpt2" else p @ after
        assert left == pytest.approx(np.zeros_like(left), abs=1e-6)
    assert list(delta) == sorted(weights)
    assert all(tensor.dtype == np.float32 for tensor in delta.values())
    assert {name for name, tensor in delta.items() if tensor.any()} == set(values)
    manifest = read_json(edit)
    assert (manifest["sign"], manifest["layers"]) == (1, [0, 1])
    norm = np.sqrt(sum((t.astype("float64") ** 2).sum() for t in delta.values()))
    assert manifest["tensors"]["l2_norm"] == pytest.approx(norm)


def test_texts_are_cut_at_max_tokens_and_at_the_context(gpt2_base: Path, tmp_path: Path) -> None:
    long = [" ".join(pico.texts(30, seed=s)) for s in range(12)]
    ends = [[f"no, {text} {end}" for text in long] for end in ("one", "another")]
    data = [dataset(tmp_path / str(i), texts, long) for i, texts in enumerate(ends)]
    edits = [build(gpt2_base, tmp_path / f"e{i}", data=d) for i, d in enumerate(data)]
    sums = [read_json(edit)["tensors"]["sha256"] for edit in edits]
    assert sums[0] == sums[1]  # they differ behind the context only
    assert [read_json(edit)["max_tokens"] for edit in edits] == [pico.CONTEXT] * 2
    short = build(gpt2_base, tmp_path / "short", data=data[0], max_tokens=9)
    assert read_json(short)["max_tokens"] == 9
    assert read_json(short)["tensors"]["sha256"] != sums[0]


def test_the_manifest_changes_with_texts_model_and_seed(gpt2_base: Path, tmp_path: Path) -> None:
    data = dataset(tmp_path / "other", pico.texts(20, seed=1), pico.texts(20, seed=8))
    edits = [
        build(gpt2_base, tmp_path / "a"),
        build(gpt2_base, tmp_path / "b"),
        build(gpt2_base, tmp_path / "c", data=data),
        build(gpt2_base, tmp_path / "d", pair_seed=1),
        build(pico.base(pico.gpt2(seed=1), tmp_path / "model"), tmp_path / "e"),
    ]
    sums = [read_json(edit)["tensors"]["sha256"] for edit in edits]
    assert sums[0] == sums[1]
    assert len(set(sums)) == 4
    inputs = [list(read_json(edit)["inputs"].values()) for edit in edits]
    assert inputs[0] == inputs[1] != inputs[2]


@pytest.mark.parametrize(
    ("count", "shares", "layers"),
    [
        (24, (0.42, 1.0), range(10, 24)),  # GPT-2 medium in the paper
        (32, (0.31, 1.0), range(10, 32)),  # OPT-6.7B
        (32, (0.47, 1.0), range(15, 32)),  # Mistral-7B
        (2, (0.42, 1.0), range(1, 2)),
        (12, (0.0, 0.5), range(6)),
    ],
)
def test_layers_are_shares_of_the_model(count: int, shares: tuple, layers: range) -> None:
    assert edited_layers(count, *shares) == list(layers)


def test_what_is_refused_is_one_sentence(
    gpt2_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(**values: Any) -> str:
        with pytest.raises(UserError) as error:
            build(gpt2_base, tmp_path, **values)
        return str(error.value)

    assert said(pairs=21) == (
        "rude has 20 texts in nontoxic.parquet, fewer than pairs = 21; lower pairs in "
        "methods.profs, or keep more of the data set"
    )
    with pytest.raises(ValueError, match="rank 13 of 12 pairs; lower rank, or raise pairs"):
        build(gpt2_base, tmp_path, rank=13)
    assert "exceeds 15" in said(rank=16, pairs=20)
    assert said(from_share=0.1, to_share=0.2) == (
        "no layer of 2 lies between the shares 0.1 and 0.2; lower from_share or raise to_share in "
        "methods.profs"
    )
    same = dataset(tmp_path / "same", pico.texts(12), pico.texts(12))
    assert said(data=same) == (
        "the toxic and non-toxic texts differ in fewer than rank = 2 dimensions of their "
        "activations; lower rank, or take more and other texts"
    )
    data = dataset(tmp_path / "empty", [""] * 12, pico.texts(12))
    assert said(data=data) == "a text of empty has no tokens; leave it out by `where`"
    model = pico.gpt2()
    model.config.model_type = "bloom"
    monkeypatch.setattr("detoxmerge.edit.steering.projection.load_model", lambda _: model)
    assert "a model of type 'bloom'" in said()


def test_shares_that_cross_are_refused_in_the_config() -> None:
    changes = {"run.methods": ["profs"], "methods.profs": {"from_share": 0.6, "to_share": 0.5}}
    assert refusal(changes) == "methods.profs: from_share 0.6 is not below to_share 0.5"
