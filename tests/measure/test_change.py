"""Parameter change in one pass: counts and norms against numpy, structural zeros apart."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pico
import pytest
import torch

from detoxmerge.errors import UserError
from detoxmerge.measure import change
from detoxmerge.measure.change import THRESHOLDS, module_type, parameter_change
from detoxmerge.measure.nulls import random_share_below
from detoxmerge.storage.artefacts import read_json, sha256

EDIT = {"dataset": "d", "method": "merge", "setting": "n=1", "params": {"n": 1}, "seed": "1"}
STRUCTURAL = ("transformer.wpe.weight", "transformer.wte.weight")


def vector() -> dict[str, torch.Tensor]:
    """Many magnitudes; position rows that were never reached; zeros elsewhere."""
    delta = pico.noise(pico.gpt2(), size=1.0)
    generator = torch.Generator().manual_seed(3)
    for name, tensor in delta.items():
        delta[name] = tensor * 10.0 ** -(7 * torch.rand(tensor.shape, generator=generator))
    delta["transformer.wpe.weight"][40:] = 0
    delta["transformer.wpe.weight"][0, 0] = 0  # an exact zero in a row that was reached
    delta["transformer.h.0.mlp.c_fc.weight"][2] = 0  # no embedding: counted as exact zeros
    return delta


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_counts_and_norms_are_those_of_the_dense_vector(
    gpt2_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(change, "BLOCK_ELEMENTS", block)
    delta = vector()
    edit = pico.delta_edit(gpt2_base, delta, tmp_path / "edit")
    out, table = tmp_path / "change.json", tmp_path / "change.parquet"
    parameter_change(edit, edit.with_name("delta.safetensors"), {}, out, table)
    manifest = read_json(out)
    flat = np.concatenate([t.numpy().ravel() for t in delta.values()])
    counted = np.concatenate(
        [
            (t[t.any(dim=1)] if name in STRUCTURAL else t).numpy().ravel()
            for name, t in delta.items()
        ]
    )
    size = np.abs(counted)
    assert manifest["num_elements"] == flat.size
    assert manifest["num_structural_zeros"] == 24 * 16
    assert manifest["num_exact_zeros"] == (counted == 0).sum() == 1 + 64
    for t in THRESHOLDS:
        share = manifest["almost_unchanged_share"][f"below_{t:g}"]
        assert share == pytest.approx((size < np.float32(t)).mean())
    assert manifest["l1_norm"] == pytest.approx(np.abs(flat.astype(np.float64)).sum())
    assert manifest["l2_norm"] == pytest.approx(np.linalg.norm(flat.astype(np.float64)))
    assert manifest["max_abs"] == pytest.approx(np.abs(flat).max())
    norms = [np.linalg.norm(x.numpy().astype(np.float64)) for x in delta.values()]
    counts = [x[x.any(dim=1)].numel() if n in STRUCTURAL else x.numel() for n, x in delta.items()]
    for t in THRESHOLDS:
        share = manifest["norm_matched_random_share"][f"below_{t:g}"]
        assert share == pytest.approx(random_share_below(t, norms, counts))
    linear = np.histogram(size, np.linspace(0, 0.01, 501))[0]
    assert manifest["histogram_linear"]["counts"] == linear.tolist()
    log = manifest["histogram_log10"]
    assert log["counts"] == np.histogram(size, np.logspace(-12, 2, 1401))[0].tolist()
    assert log["num_below"] == (size < 1e-12).sum() == size.size - sum(log["counts"])
    rows = pd.read_parquet(table)
    assert rows["elements"].sum() == flat.size
    assert set(rows["tensor"]) == set(delta)


def test_no_byte_depends_on_workers(
    gpt2_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change, "BLOCK_ELEMENTS", 64)
    edit = pico.delta_edit(gpt2_base, vector(), tmp_path)
    file = tmp_path / "delta.safetensors"
    written = []
    for workers in (1, 3):
        out = [tmp_path / "change.json", tmp_path / "change.parquet"]
        parameter_change(edit, file, {}, *out, workers)
        written.append([path.read_bytes() for path in out])
    assert written[0] == written[1]


def test_the_order_of_tensors_in_the_file_and_odd_shapes_change_nothing(tmp_path: Path) -> None:
    tensors = {
        "b.scalar": np.float32([-3e-5]).reshape(()),
        "a.empty": np.zeros((3, 0), np.float32),
        "c.wte.weight": np.float32([[[0, 0], [0, -0.0]], [[0, 1], [0, 0]]]),
        "d.embed_in.bias": np.float32([0, 2]),
    }
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name in ("d.embed_in.bias", "c.wte.weight", "b.scalar", "a.empty"):
        start, data = len(data), data + tensors[name].tobytes()
        offsets = {"data_offsets": [start, len(data)]}
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape)} | offsets
    text = json.dumps(header).encode()
    file, edit = tmp_path / "delta.safetensors", tmp_path / "edit.json"
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    edit.write_text(json.dumps(EDIT | {"tensors": {"sha256": sha256(file)}}))
    parameter_change(edit, file, {}, tmp_path / "c.json", tmp_path / "c.parquet")
    rows = pd.read_parquet(tmp_path / "c.parquet").set_index("tensor")
    assert rows.index.tolist() == sorted(tensors)
    assert rows["elements"].tolist() == [0, 1, 8, 2]
    assert rows["structural_zeros"].tolist() == [0, 0, 4, 1]
    assert rows["exact_zeros"].tolist() == [0, 0, 3, 0]
    assert rows["max"].tolist() == [0, np.float32(3e-5), 1, 2]
    assert rows["below_1e-06"].tolist() == [0, 0, 3, 0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("transformer.wpe.weight", "position embedding"),
        ("transformer.wte.weight", "token embedding"),
        ("transformer.h.3.attn.c_attn.weight", "attention"),
        ("transformer.h.3.mlp.c_proj.bias", "mlp"),
        ("transformer.ln_f.weight", "norm"),
        ("model.embed_tokens.weight", "token embedding"),
        ("model.layers.0.self_attn.q_proj.weight", "attention"),
        ("model.layers.0.post_attention_layernorm.weight", "norm"),
        ("model.layers.0.mlp.gate_proj.weight", "mlp"),
        ("lm_head.weight", "output head"),
        ("something.else", "other"),
    ],
)
def test_module_types(name: str, kind: str) -> None:
    assert module_type(name) == kind


def test_a_vector_that_is_not_the_manifests_is_refused(gpt2_base: Path, tmp_path: Path) -> None:
    edit = pico.delta_edit(gpt2_base, vector(), tmp_path)
    file = tmp_path / "delta.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"is not what .*edit\.json says: .* delete"):
        parameter_change(edit, file, {}, tmp_path / "c.json", tmp_path / "c.parquet")
