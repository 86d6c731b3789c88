"""Edits of activations: both rules by hand, scale 0, caches, batches, and what is refused."""

from pathlib import Path
from typing import Any

import beside
import numpy as np
import pico
import pytest
import torch

from detoxmerge.edit.edited import EditedModel, load_edited
from detoxmerge.edit.steering.probes import write_vectors
from detoxmerge.edit.verbs.hooks import add, rotate
from detoxmerge.errors import UserError
from detoxmerge.models.activations import watched
from detoxmerge.models.sampling import continuations
from detoxmerge.models.sampling_request import PLAIN
from detoxmerge.storage.artefacts import read_json, write_json

IDS = torch.tensor([[5, 9, 200, 31, 7]])
FAMILIES = {
    "gpt2": [f"transformer.h.{i}.attn" for i in range(2)],
    "llama": [f"model.layers.{i}.self_attn" for i in range(2)],
}


def hooks_edit(base: Path, folder: Path, modules: list[str], rule: str, width: int = 16) -> Path:
    """An edit of verb `hooks` with a random vector per module."""
    numbers = np.random.default_rng(3)
    names = [f"direction.{i}" for i in range(len(modules))]
    vectors = {name: numbers.standard_normal(width) for name in names}
    out = folder / "edit.json"
    tensors = write_vectors(folder / "hooks.safetensors", vectors)
    beside.manifest(
        out,
        "hooks.safetensors",
        inputs=[base],
        base=str(base),
        verb="hooks",
        rule=rule,
        modules=dict(zip(modules, names, strict=True)),
        tensors=tensors,
    )
    return out


@pytest.fixture(params=["gpt2-rotate", "gpt2-add", "llama-rotate", "llama-add"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, list[str]]:
    """Base, edit, and its modules."""
    family, rule = request.param.split("-")
    base = request.getfixturevalue(f"{family}_base")
    modules = FAMILIES[family]
    return base, hooks_edit(base, tmp_path / "edit", modules, rule), modules


def test_rotation_keeps_the_norm_and_moves_the_direction() -> None:
    numbers = np.random.default_rng(0)
    h, v = numbers.standard_normal((2, 3, 8)) * 5, numbers.standard_normal(8)
    found = rotate(torch.tensor(h), torch.tensor(0.45 * v)).numpy()
    for i in np.ndindex(2, 3):
        norm = np.sqrt((h[i] ** 2).sum())
        moved = h[i] / norm + 0.45 * v
        by_hand = norm * moved / np.sqrt((moved**2).sum())
        assert found[i] == pytest.approx(by_hand, rel=1e-12)
        assert np.linalg.norm(found[i]) == pytest.approx(norm)


def test_zeros_give_no_nan() -> None:
    h, v = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), torch.ones(8)
    zero = torch.zeros_like
    assert torch.equal(rotate(zero(h), v), zero(h))
    assert torch.allclose(rotate(h, zero(v)), h)
    opposite = -h[0] / h[0].norm()  # the direction cancels
    assert torch.isfinite(rotate(h[0], opposite)).all()
    assert torch.equal(add(zero(h), v), torch.ones(4, 8))


def test_every_position_of_every_module_is_edited(made: tuple) -> None:
    """By hand: the hooked output of a module is the rule of what the module itself gives."""
    _, edit, modules = made
    manifest, scale = read_json(edit), 0.7
    model = load_edited(edit, scale)
    raw: dict[str, np.ndarray] = {}
    for module in modules:  # before the edit's own hook
        model.get_submodule(module).register_forward_hook(
            lambda _, __, out, module=module: raw.__setitem__(module, out[0].numpy()), prepend=True
        )
    with torch.no_grad(), watched(model, modules) as given:
        model(IDS)
    for module in modules:
        vector = EditedModel(edit, device="cpu").verb._vectors[module].numpy()
        h = raw[module].astype("float64")
        if manifest["rule"] == "add":
            wanted = h + scale * vector
        else:
            norm = np.linalg.norm(h, axis=-1, keepdims=True)
            moved = h / norm + scale * vector
            wanted = norm * moved / np.linalg.norm(moved, axis=-1, keepdims=True)
        assert given[module].numpy() == pytest.approx(wanted, abs=1e-5)
        assert np.abs(given[module].numpy() - h).max() > 0.1


def test_scale_0_is_the_base_bit_for_bit_also_after_another(made: tuple) -> None:
    base, edit, modules = made
    wanted = load_edited(base, 0)(IDS).logits
    edited = EditedModel(edit, device="cpu")
    assert torch.equal(edited.at(0)(IDS).logits, wanted)
    moved = edited.at(0.7)(IDS).logits
    again = edited.at(0.7)(IDS).logits
    assert not torch.equal(moved, wanted)
    assert torch.equal(moved, again)  # hooks do not pile up
    assert len(edited.model.get_submodule(modules[0])._forward_hooks) == 1
    assert torch.equal(edited.at(0)(IDS).logits, wanted)
    assert not any(module._forward_hooks for module in edited.model.modules())


def test_bfloat16_is_computed_in_fp32_and_cast_back(made: tuple) -> None:
    base, edit, modules = made
    edited = EditedModel(edit, device="cpu", dtype="bfloat16")
    assert torch.equal(edited.at(0)(IDS).logits, load_edited(base, 0, dtype="bfloat16")(IDS).logits)
    seen: list[torch.Tensor] = []
    module, model = edited.model.get_submodule(modules[0]), edited.at(0.7)
    for first in (True, False):  # before and behind the edit's own hook
        module.register_forward_hook(lambda _, __, out: seen.append(out[0]), prepend=first)
    assert model(IDS).logits.dtype == torch.bfloat16
    v = 0.7 * edited.verb._vectors[modules[0]]
    assert v.dtype == torch.float32
    assert torch.equal(seen[1], edited.verb.rule(seen[0].float(), v).bfloat16())


def test_a_cache_changes_nothing(made: tuple) -> None:
    model = load_edited(made[1], 0.7)
    with torch.no_grad():
        whole = model(IDS).logits
        cache, steps = None, []
        for at in range(IDS.shape[1]):
            out = model(IDS[:, at : at + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits)
    assert torch.allclose(torch.cat(steps, dim=1), whole, atol=1e-4)


def test_the_batch_decides_nothing_under_the_same_noise(made: tuple) -> None:
    model, tokenizer = load_edited(made[1], 0.7), pico.tokenizer()
    base = load_edited(made[0], 0)
    protocol: dict[str, Any] = {"samples": 3, "new_tokens": 6, "temperature": 1.0, "top_p": 0.9}
    protocol |= {"top_k": 0, "prefix": "", "seed": 42}
    prompts = ["The gardener", "Yesterday we talked about the", "I"]
    one = continuations(model, tokenizer, prompts, protocol, 1)
    assert continuations(model, tokenizer, prompts, protocol, 7) == one
    assert continuations(base, tokenizer, prompts, protocol, 7) != one


def test_sampling_is_plain_and_costs_one_pass(made: tuple) -> None:
    verb = EditedModel(made[1], device="cpu").verb
    assert verb.sampling(0.5) is PLAIN
    assert verb.forwards(0.5) == 1
    assert verb.extra_bytes() == 2 * 16 * 4  # two vectors of the hidden width, fp32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 8}, ("'direction.0'", "is [8]", "hidden width 16", "make the edit again")),
        ({"modules": ["model.layers.0.mlp"]}, ("model.layers.0.mlp", "has no such module")),
    ],
)
def test_an_edit_of_another_model_is_one_sentence(
    gpt2_base: Path, tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    values = {"modules": FAMILIES["gpt2"], "rule": "add"} | change
    with pytest.raises(UserError) as error:
        load_edited(hooks_edit(gpt2_base, tmp_path, **values), 1)
    assert all(word in str(error.value) for word in words)


def test_a_vector_that_is_missing_and_a_truncated_file_are_one_sentence(
    gpt2_base: Path, tmp_path: Path
) -> None:
    edit = hooks_edit(gpt2_base, tmp_path, FAMILIES["gpt2"], "add")
    content = read_json(edit)
    write_json(edit, content | {"modules": {FAMILIES["gpt2"][0]: "direction.9"}})
    with pytest.raises(UserError, match=r"'direction\.9' for transformer\.h\.0\.attn is missing"):
        load_edited(edit, 1)
    file = tmp_path / "hooks.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match="truncated"):
        load_edited(edit, 1)
