"""An edit applied to its base: scale 0 is the base, bit for bit; the formula, tensor by tensor."""

from pathlib import Path

import pico
import pytest
import torch
from transformers import AutoModelForCausalLM

from detoxmerge.edit.edited import EditedModel, load_edited
from detoxmerge.errors import UserError
from detoxmerge.models.device import pick_device

IDS = torch.tensor([[5, 9, 200, 31, 7]])


@pytest.fixture(params=["gpt2", "llama"])
def family(request: pytest.FixtureRequest, tmp_path: Path) -> tuple:
    """(base manifest, edit, model, delta) of a tied and of an untied architecture."""
    manifest = request.getfixturevalue(f"{request.param}_base")
    model = getattr(pico, request.param)()
    delta = pico.noise(model)
    return manifest, pico.delta_edit(manifest, delta, tmp_path / "edit"), model, delta


def test_scale_0_is_the_base_bit_for_bit(family: tuple) -> None:
    manifest, edit, _, _ = family
    base = load_edited(manifest, 0)(IDS).logits
    assert torch.equal(load_edited(edit, 0)(IDS).logits, base)


def test_scale_0_after_another_scale_is_the_base_again(family: tuple) -> None:
    manifest, edit, _, _ = family
    edited = EditedModel(edit, device="cpu")
    moved = edited.at(1.5)(IDS).logits
    assert torch.equal(edited.at(0)(IDS).logits, load_edited(manifest, 0)(IDS).logits)
    assert not torch.equal(moved, edited.at(0)(IDS).logits)


def test_the_formula_tensor_by_tensor(family: tuple) -> None:
    _, edit, model, delta = family
    found = dict(load_edited(edit, 0.7).named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(found[name], parameter - 0.7 * delta[name]), name


def test_tied_embeddings_stay_tied_and_move_once(gpt2_base: Path, tmp_path: Path) -> None:
    model = pico.gpt2()
    edit = pico.delta_edit(gpt2_base, pico.noise(model), tmp_path)
    edited = load_edited(edit, 1.0)
    assert edited.lm_head.weight is edited.transformer.wte.weight
    assert "lm_head.weight" not in pico.noise(model)


def test_bfloat16_is_what_transformers_loads(family: tuple) -> None:
    """Buffers keep their dtype: rotary frequencies in bf16 would move every logit."""
    manifest, _, _, _ = family
    folder = manifest.parents[1] / "model"
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    ours = load_edited(manifest, 0, dtype="bfloat16")
    with torch.no_grad():
        assert torch.equal(ours(IDS).logits, theirs(IDS).logits)
    assert ours.dtype == torch.bfloat16


def test_bfloat16_is_cast_once_at_the_end(family: tuple) -> None:
    _, edit, model, delta = family
    found = dict(load_edited(edit, 0.7, dtype="bfloat16").named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(found[name], (parameter - 0.7 * delta[name]).bfloat16()), name


def test_a_delta_of_another_model_names_the_first_tensor(gpt2_base: Path, tmp_path: Path) -> None:
    edit = pico.delta_edit(gpt2_base, pico.noise(pico.gpt2(width=32)), tmp_path)
    with pytest.raises(UserError) as error:
        load_edited(edit, 1)
    for word in ("transformer.h.0.attn.c_attn.bias", "[48]", "[96]", "delta.safetensors"):
        assert word in str(error.value)


def test_a_truncated_delta_is_one_sentence(gpt2_base: Path, tmp_path: Path) -> None:
    edit = pico.delta_edit(gpt2_base, pico.noise(pico.gpt2()), tmp_path)
    file = tmp_path / "delta.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match="truncated"):
        load_edited(edit, 1)


def test_the_base_has_scale_0_only(gpt2_base: Path) -> None:
    with pytest.raises(ValueError, match="scale 0"):
        load_edited(gpt2_base, 0.5)


def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="`device: cuda` was asked for, and PyTorch sees no GPU"):
        pick_device("cuda")
    assert pick_device("auto") == pick_device("cpu") == "cpu"
