"""Fine-tunes made elsewhere: what is found out about them, and the edit that is merged of them."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pico
import pytest
import torch
from merge.checkpoints import adapter, finetunes
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from detoxmerge.edit.edited import EditedModel
from detoxmerge.edit.methods import merge_given
from detoxmerge.errors import UserError
from detoxmerge.merge.made_elsewhere import fetch_finetune, loaded_base
from detoxmerge.merge.merging import merge_deltas
from detoxmerge.models.loading import parameter_shapes
from detoxmerge.storage.artefacts import read_json, sha256, write_manifest
from detoxmerge.storage.writing import write_tensors
from detoxmerge.train.job import Job

FILE = "model.safetensors"
FLOATS = [torch.float32, torch.bfloat16]


def base_of(folder: Path) -> Path:
    """The manifest of a base model's folder."""
    out = folder.with_name("base.json")
    write_manifest(out, protocol={}, inputs=[], files={}, verb="none", model={"path": str(folder)})
    return out


def place(**given: str) -> dict[str, Any]:
    return {"version": 1, "hub": None, "revision": None, "path": None} | given


def given(base: Path, shards: list[Path]) -> list[Path]:
    """The manifests of fine-tunes; in the order of their names."""
    out = [base.parent / f"given/shard{i}/meta.json" for i in range(len(shards))]
    for path, shard in zip(out, shards, strict=True):
        fetch_finetune("models.m.fine_tunes.0", place(path=str(shard)), base, path)
    return out


def parameters(folder: Path) -> dict[str, np.ndarray]:
    """Of a loaded model, fp32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return {name: p.detach().numpy() for name, p in sorted(model.named_parameters())}


def kept(delta: dict[str, np.ndarray], file: Path) -> Path:
    """A task vector as this project writes it."""
    with write_tensors(file, {name: d.shape for name, d in delta.items()}) as writer:
        for tensor in delta.values():
            writer.write(np.ascontiguousarray(tensor, np.float32))
    return file


def subtracted(base: Path, shards: list[Path], folder: Path) -> list[Path]:
    """Deltas of fine-tunes, in the order given."""
    before = parameters(base)
    folder.mkdir(parents=True)
    return [
        kept({n: p - before[n] for n, p in parameters(s).items()}, folder / f"shard{i}.safetensors")
        for i, s in enumerate(shards)
    ]


def cut(folder: Path) -> None:
    """The same model in several files."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1


@pytest.mark.parametrize("make", [pico.gpt2, pico.llama])
@pytest.mark.parametrize("dtype", FLOATS)
def test_checkpoints_give_the_bytes_that_their_deltas_give(
    tmp_path: Path, make: Any, dtype: torch.dtype
) -> None:
    base, shards = finetunes(tmp_path, make, dtype=dtype)
    cut(base)
    cut(shards[2])
    shards = [shards[2], shards[0], shards[1]]  # the list of the config has an order of its own
    deltas = subtracted(base, shards, tmp_path / "deltas")
    inputs = [base_of(base), *given(base_of(base), shards)]
    for values in ({}, {"operator": "dare"}, {"operator": "ties", "exclude": ["attn"]}):
        params = merge_given.params_of(values)(n=3, **values)
        found = merge_given.build(inputs, params, Job(tmp_path / "edit.json"))
        wanted = merge_deltas(
            deltas, params.operator, tmp_path / "wanted", params, exclude=params.exclude
        )
        assert (tmp_path / "delta.safetensors").read_bytes() == (tmp_path / "wanted").read_bytes()
        assert found["tensors"] == wanted | {"file": "delta.safetensors"}


def test_names_without_prefix_buffers_and_tied_copies(tmp_path: Path) -> None:
    """The base as the hub's old GPT-2 has it, one fine-tune with its tied weight twice."""
    base, shards = finetunes(tmp_path, count=2)
    deltas = subtracted(base, shards, tmp_path / "deltas")
    bare = {n.removeprefix("transformer."): t for n, t in load_file(base / FILE).items()}
    bare |= {f"h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(2)}
    save_file(bare, base / FILE, {"format": "pt"})
    tied = load_file(shards[1] / FILE)
    save_file(tied | {"lm_head.weight": tied["transformer.wte.weight"].clone()}, shards[1] / FILE)
    manifest = base_of(base)
    merge_given.build(
        [manifest, *given(manifest, shards)],
        merge_given.Params(n=2),
        Job(tmp_path / "edit" / "edit.json"),
    )
    merge_deltas(deltas, "mean", tmp_path / "wanted")
    made = tmp_path / "edit" / "delta.safetensors"
    assert made.read_bytes() == (tmp_path / "wanted").read_bytes()


def test_a_model_an_adapter_and_a_vector_are_merged_into_an_edit_that_loads(tmp_path: Path) -> None:
    base, (shard, _, _) = finetunes(tmp_path)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 16)), rng.standard_normal((48, 2))
    lora = adapter(tmp_path / "lora", {"transformer.h.0.attn.c_attn": (a, b)})
    before = parameters(base)
    product = {name: np.zeros_like(p) for name, p in before.items()}
    a, b = (f.astype(np.float32).astype(np.float64) for f in (a, b))
    product["transformer.h.0.attn.c_attn.weight"] = (a.T @ (b * 4).T).astype(np.float32)
    noise = {n: t.numpy() for n, t in sorted(pico.noise(pico.gpt2(), seed=5).items())}
    vector = tmp_path / "vector" / "delta.safetensors"
    kept(noise, vector)
    deltas = [
        *subtracted(base, [shard], tmp_path / "deltas"),
        kept(product, tmp_path / "deltas" / "shard1.safetensors"),
        kept(noise, tmp_path / "deltas" / "shard2.safetensors"),
    ]
    manifest = base_of(base)
    metas = given(manifest, [shard, lora, vector.parent])
    assert [read_json(path)["kind"] for path in metas] == ["model", "adapter", "delta"]
    sums = {file.name: sha256(file) for file in lora.iterdir()}
    assert read_json(metas[1])["place"] == {"path": str(lora), "sha256": sums}
    assert read_json(metas[1])["num_elements"] == 2 * (16 + 48)
    out = tmp_path / "edit" / "edit.json"
    fields = merge_given.build([manifest, *metas], merge_given.Params(n=3), Job(out))
    merge_deltas(deltas, "mean", tmp_path / "wanted")
    made = out.with_name("delta.safetensors")
    assert made.read_bytes() == (tmp_path / "wanted").read_bytes()
    files = {made.name: sha256(made)}
    write_manifest(
        out, protocol={}, inputs=[], files=files, verb="delta", base=str(manifest), **fields
    )
    model, delta = EditedModel(out, device="cpu").at(0.5), load_file(made)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, torch.from_numpy(before[name]) - 0.5 * delta[name])


def test_manifest_changes_with_the_weights(tmp_path: Path) -> None:
    base, shards = finetunes(tmp_path)
    manifest = base_of(base)
    (meta,) = given(manifest, shards[:1])
    before = meta.read_bytes()
    assert json.loads(before)["inputs"] == {str(manifest): sha256(manifest)}
    (shards[0] / "README.md").write_text("more words")
    assert given(manifest, shards[:1])[0].read_bytes() == before
    shutil.copy(shards[1] / FILE, shards[0] / FILE)
    assert given(manifest, shards[:1])[0].read_bytes() != before


def test_fine_tune_of_the_hub_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, shards = finetunes(tmp_path, count=1)
    asked = []

    def snapshot_download(hub: str, *, revision: str, **how: Any) -> str:
        asked.append((hub, revision, how.get("local_files_only", False)))
        return str(shards[0])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    out, pin = tmp_path / "meta.json", {"hub": "owner/model", "revision": "f" * 40}
    fetch_finetune("models.m.fine_tunes.0", place(**pin), base_of(base), out)
    sums = {FILE: sha256(shards[0] / FILE)}
    assert read_json(out)["place"] == pin | {"sha256": sums}
    assert {(hub, revision) for hub, revision, _ in asked} == {("owner/model", "f" * 40)}
    assert [offline for *_, offline in asked] == [False] * 3 + [True] * 3  # fetched, then opened


BAD = {
    "truncated": (lambda s: os.truncate(s / FILE, 9000), "model.safetensors is truncated"),
    "no model": (shutil.rmtree, "has no config.json"),
    "another": (lambda s: pico.gpt2(8).save_pretrained(s), "was not made from this base"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_fine_tunes_are_one_sentence_that_names_the_entry(tmp_path: Path, kind: str) -> None:
    base, shards = finetunes(tmp_path, count=1)
    spoil, said = BAD[kind]
    spoil(shards[0])
    with pytest.raises(UserError, match=rf"^models\.m\.fine_tunes\.0: .*{said}"):
        given(base_of(base), shards)
    assert not list(tmp_path.rglob("meta.json"))


@pytest.mark.parametrize("kind", ["renamed", "reshaped", "more"])
def test_a_layout_that_transformers_would_convert_is_refused(tmp_path: Path, kind: str) -> None:
    base, _ = finetunes(tmp_path, count=1)
    tensors = load_file(base / FILE)
    if kind == "renamed":
        tensors["transformer.ln_f.gamma"] = tensors.pop("transformer.ln_f.weight")
    elif kind == "reshaped":
        tensors["transformer.wpe.weight"] = tensors["transformer.wpe.weight"].T.contiguous()
    else:
        tensors["transformer.h.2.mlp.extra"] = torch.ones(3)
    save_file(tensors, base / FILE, {"format": "pt"})
    with pytest.raises(UserError, match=r"not the same in the model and in its files.* only$"):
        loaded_base(base_of(base))


@pytest.mark.parametrize("make", [pico.gpt2, pico.llama])
def test_parameters_are_known_without_weights(tmp_path: Path, make: Any) -> None:
    folder = pico.save(make(), tmp_path / "model")
    wanted = {name: p.shape for name, p in parameters(folder).items()}
    (folder / FILE).unlink()
    found = parameter_shapes({"path": str(folder)})
    assert found == wanted
    assert list(found) == sorted(found)


def test_weights_must_be_given() -> None:
    params = merge_given.params_of({"operator": "weighted"})
    with pytest.raises(ValueError, match="operator weighted needs `weights`"):
        params(n=2, operator="weighted")
    assert params(n=2, operator="weighted", weights=[0.5, 0.5]).weights == [0.5, 0.5]


def test_inputs_are_the_base_and_the_first_n() -> None:
    at = SimpleNamespace(base=lambda: "base", given_finetune=lambda index: f"given{index}")
    assert merge_given.inputs(merge_given.Params(n=2), at) == ["base", "given0", "given1"]


def test_the_single_vector_is_the_first_fine_tune() -> None:
    params = merge_given.params_of({"operator": "ties"})(n=3, operator="ties", exclude="wte")
    assert "recipe" not in type(params).model_fields
    assert merge_given.single_of(params) == merge_given.Params(n=1, exclude=["wte"])


def test_quantised_base_is_refused(tmp_path: Path) -> None:
    base, _ = finetunes(tmp_path, count=1)
    tensors = load_file(base / FILE)
    tensors["transformer.wpe.weight"] = tensors["transformer.wpe.weight"].to(torch.float8_e4m3fn)
    save_file(tensors, base / FILE, {"format": "pt"})
    with pytest.raises(UserError, match=r"'transformer.wpe.weight' is F8_E4M3; .* unquantised"):
        loaded_base(base_of(base))
