"""N task vectors against a dense fp64 reference, and refused."""

import tracemalloc
from collections.abc import Mapping
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pico
import pytest
from safetensors.numpy import save_file

from detoxmerge.errors import UserError
from detoxmerge.measure import shard_statistics as shards
from detoxmerge.measure.change import THRESHOLDS, parameter_change
from detoxmerge.measure.nulls import unchanged_share_at
from detoxmerge.measure.shard_statistics import choose_subsets, shard_statistics
from detoxmerge.merge.merging import merge_deltas
from detoxmerge.storage.artefacts import read_json, sha256, write_json, write_manifest

PROTOCOL = {"version": 1, "max_subsets": 10, "seed": 42}
Vector = Mapping[str, np.ndarray]


def write(folder: Path, vectors: list[Vector]) -> tuple[list[Path], list[Path]]:
    """Manifests and deltas of fine-tunes."""
    manifests, deltas = [], []
    for i, vector in enumerate(vectors):
        delta = folder / f"shard{i}" / "delta.safetensors"
        delta.parent.mkdir(parents=True)
        save_file(dict(vector), delta)
        files = {delta.name: sha256(delta)}
        write_manifest(delta.with_name("meta.json"), protocol={}, inputs=[], files=files)
        manifests.append(delta.with_name("meta.json"))
        deltas.append(delta)
    return manifests, deltas


def measure(folder: Path, manifests: list[Path], deltas: list[Path]) -> tuple[Any, pd.DataFrame]:
    out, table = folder / "shards.json", folder / "shards.parquet"
    of = {"dataset": "rude", "recipe": "default", "n": len(deltas), "seed": "42"}
    shard_statistics(manifests, deltas, PROTOCOL, of, out, table)
    return read_json(out), pd.read_parquet(table)


def measured(folder: Path, vectors: list[Vector]) -> tuple[Any, pd.DataFrame]:
    return measure(folder, *write(folder, vectors))


def pico_vectors(count: int) -> list[dict[str, np.ndarray]]:
    """Many magnitudes, exact zeros, and rows of embeddings that some or all never reached."""
    vectors = []
    for i in range(count):
        rng = np.random.default_rng(i)
        vector = {n: t.numpy() for n, t in pico.noise(pico.gpt2(), seed=i, size=1.0).items()}
        for tensor in vector.values():
            tensor *= 10.0 ** -rng.uniform(2, 7, tensor.shape)
            tensor[rng.random(tensor.shape) < 0.02] = 0
        vector["transformer.wpe.weight"][40 - i :] = 0
        vector["transformer.wte.weight"][rng.random(300) < 0.3] = 0
        vector["transformer.h.0.mlp.c_fc.weight"][2] = 0  # no embedding: counted
        vectors.append(vector)
    return vectors


def flat(vector: Vector, names: list[str] | None = None) -> np.ndarray:
    return np.concatenate([vector[n].ravel().astype(np.float64) for n in names or sorted(vector)])


def group(content: Any, scope: str, **at: Any) -> Any:
    (record,) = (
        g
        for g in content["groups"]
        if g["scope"] == scope and all(g[key] == value for key, value in at.items())
    )
    return record


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_everything_is_that_of_the_dense_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(shards, "BLOCK_ELEMENTS", block)
    vectors = pico_vectors(4)
    content, rows = measured(tmp_path, vectors)
    embeddings = {"transformer.wte.weight", "transformer.wpe.weight"}
    names = sorted(vectors[0])
    scopes = {"all": names, "without_embeddings": [n for n in names if n not in embeddings]}
    for scope, kept in scopes.items():
        dense = np.stack([flat(v, kept) for v in vectors])
        gram, mean = dense @ dense.T, dense.mean(axis=0)
        assert np.allclose(content["gram"][scope], gram, rtol=1e-12, atol=0)
        norms = np.linalg.norm(dense, axis=1)
        assert np.allclose(content["cosines"][scope], gram / np.outer(norms, norms))
        record = group(content, scope)
        energy = (norms**2).mean()
        signal = (4 * (mean**2).sum() - energy) / 3
        assert record["num_elements"] == dense.shape[1]
        assert record["mean_squared_norm"] == pytest.approx(energy)
        assert record["mean_vector_l2_norm"] == pytest.approx(np.linalg.norm(mean))
        assert record["signal_energy"] == pytest.approx(signal)
        assert record["noise_energy"] == pytest.approx(energy - signal)
        assert record["snr"] == pytest.approx(signal / (energy - signal))
        nowhere_zero = dense[:, (dense != 0).all(axis=0)]
        positive = (nowhere_zero > 0).sum(axis=0)
        same = np.bincount(np.maximum(positive, 4 - positive), minlength=5)
        assert record["sign_agreement"]["num_same_sign"] == [2, 3, 4]
        assert record["sign_agreement"]["counts"] == same[2:].tolist()
    assert rows["tensor"].tolist() == names
    for row in rows.itertuples():
        dense = np.stack([flat(v, [row.tensor]) for v in vectors])
        assert np.allclose(row.gram.reshape(4, 4), dense @ dense.T, rtol=1e-12, atol=0)


def test_groups_are_layers_modules_and_both(tmp_path: Path) -> None:
    vectors = pico_vectors(3)
    content, rows = measured(tmp_path, vectors)
    mlp = [n for n in vectors[0] if ".mlp." in n]
    for at, names in (
        ({"scope": "module", "module": "mlp"}, mlp),
        ({"scope": "layer", "layer": 1}, [n for n in vectors[0] if ".h.1." in n]),
        (
            {"scope": "layer_module", "layer": 0, "module": "mlp"},
            [n for n in mlp if ".h.0." in n],
        ),
        (
            {"scope": "layer_module", "layer": None, "module": "norm"},
            [n for n in vectors[0] if "ln_f" in n],
        ),
    ):
        dense = np.stack([flat(v, names) for v in vectors])
        record = group(content, **at)
        assert record["num_elements"] == dense.shape[1]
        assert record["mean_squared_norm"] == pytest.approx((dense**2).sum() / 3)
    by = rows.groupby(["layer", "module"], dropna=False)
    assert len([g for g in content["groups"] if g["scope"] == "layer_module"]) == by.ngroups


def test_output_head_counts_as_an_embedding(tmp_path: Path) -> None:
    """As it does where both are one tensor."""
    names = ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight")
    vectors = [{n: np.full((2, 2), i, np.float32) for i, n in enumerate(names, 1)}] * 2
    content, _ = measured(tmp_path, vectors)
    assert group(content, "all")["mean_squared_norm"] == 4 * (1 + 4 + 9)
    assert group(content, "without_embeddings")["mean_squared_norm"] == 4 * 9


def test_subset_is_counted_as_its_merged_vector_is(gpt2_base: Path, tmp_path: Path) -> None:
    """Structural zeros apart: those of the subset's own mean."""
    vectors = pico_vectors(4)
    manifests, deltas = write(tmp_path, vectors)
    content, rows = measure(tmp_path, manifests, deltas)
    every = [c for k in range(1, 5) for c in combinations(range(4), k)]
    assert content["subsets"] == ["+".join(map(str, c)) for c in every]
    changes = []
    for subset in every:
        folder = tmp_path / "edit" / "+".join(map(str, subset))
        edit = pico.delta_edit(gpt2_base, {}, folder)
        delta = folder / "delta.safetensors"
        merged = merge_deltas([deltas[i] for i in subset], "mean", delta)
        write_json(edit, read_json(edit) | {"tensors": merged})
        parameter_change(edit, delta, {}, folder / "c.json", folder / "c.parquet")
        changes.append(read_json(folder / "c.json"))
    counted = [c["num_elements"] - c["num_structural_zeros"] for c in changes]
    assert np.sum(list(rows["counted"]), axis=0).tolist() == counted
    assert len(set(counted)) > 4
    for k, point in enumerate(content["curves"]["all"], start=1):
        of_size = [c for c, subset in zip(changes, every, strict=True) if len(subset) == k]
        assert (point["k"], point["num_subsets"], point["num_possible"]) == (k, *2 * [comb(4, k)])
        norms = [c["l2_norm"] for c in of_size]
        for name, at in (("mean", np.mean), ("low", min), ("high", max)):
            assert point["l2_norm"][name] == pytest.approx(at(norms), rel=1e-6)
            for kind in ("almost_unchanged_share", "norm_matched_random_share"):
                for t in THRESHOLDS:
                    shares = [c[kind][f"below_{t:g}"] for c in of_size]
                    share = point[kind][f"below_{t:g}"][name]
                    exact = 1e-12 if kind.startswith("almost") else 1e-6  # norms of fp32 means
                    assert share == pytest.approx(at(shares), rel=exact)
    assert group(content, "all")["merged"] == content["curves"]["all"][-1]
    assert group(content, "all")["one_shard"] == content["curves"]["all"][0]


def test_histogram_is_that_of_all_shards(tmp_path: Path) -> None:
    vectors = pico_vectors(3)
    content, _ = measured(tmp_path, vectors)
    one, bins = content["one_shard"], content["one_shard"]["histogram_log10"]
    counted = one["num_elements"] - one["num_structural_zeros"]
    reached = [
        t[t.any(axis=1)].ravel() if "wte" in n or "wpe" in n else t.ravel()
        for v in vectors
        for n, t in v.items()
    ]
    size = np.abs(np.concatenate(reached))
    assert one["num_elements"] == sum(t.size for v in vectors for t in v.values())
    assert counted == size.size == bins["num_below"] + sum(bins["counts"])
    assert bins["num_below"] == (size < 1e-12).sum()
    assert unchanged_share_at(one, 1.0, 1e-5) == pytest.approx((size < 1e-5).mean(), abs=1e-3)


def test_opposite_vectors_keep_the_negative_sign(tmp_path: Path) -> None:
    vector = np.arange(1, 5, dtype=np.float32)
    content, _ = measured(tmp_path, [{"w": vector}, {"w": -vector}])
    record = group(content, "all")
    assert (record["signal_energy"], record["noise_energy"], record["snr"]) == (-30, 60, -0.5)
    assert record["mean_vector_l2_norm"] == 0
    assert record["mean_cosine"] == pytest.approx(-1)


def test_what_is_not_defined_is_null(tmp_path: Path) -> None:
    vector, nothing = np.ones(4, np.float32), np.zeros(4, np.float32)
    one, _ = measured(tmp_path / "one", [{"w": vector}])
    record = group(one, "all")
    assert record["mean_squared_norm"] == 4
    for key in ("signal_energy", "noise_energy", "snr", "mean_cosine"):
        assert record[key] is None
    same, _ = measured(tmp_path / "same", [{"w": vector}] * 3)
    assert group(same, "all")["signal_energy"] == pytest.approx(4)
    assert group(same, "all")["snr"] is None
    zero, _ = measured(tmp_path / "zero", [{"w": vector}, {"w": nothing}])
    assert zero["cosines"]["all"] == [[1, None], [None, None]]
    assert group(zero, "all")["mean_cosine"] is None
    assert group(zero, "all")["sign_agreement"]["full_consensus_share"] is None
    rows = {"w": vector, "wpe": np.zeros((4, 2), np.float32)}
    unreached, _ = measured(tmp_path / "unreached", [rows, rows])
    merged = group(unreached, "module", module="position embedding")["merged"]
    assert merged["almost_unchanged_share"]["below_1e-05"] is None
    assert merged["norm_matched_random_share"]["below_1e-05"] is None


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_scalars_and_empty_tensors_are_measured(tmp_path: Path, shape: tuple[int, ...]) -> None:
    vectors = [{"a": np.full(shape, i, np.float32), "w": np.ones(2, np.float32)} for i in (1, 2)]
    content, rows = measured(tmp_path, vectors)
    assert rows["elements"].tolist() == [np.prod(shape, dtype=int), 2]
    size = np.prod(shape)
    assert content["gram"]["all"] == [[2 + size, 2 + 2 * size], [2 + 2 * size, 2 + 4 * size]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_shard_with_nan_or_infinity_is_named(tmp_path: Path, value: float) -> None:
    vectors = [{"w": np.ones(9, np.float32)} for _ in range(3)]
    vectors[1]["w"][4] = value
    with pytest.raises(UserError, match=r"shard1.*'w' holds 1 values that are NaN or infinite"):
        measured(tmp_path, vectors)
    assert not (tmp_path / "shards.json").exists()


def test_corrupted_shard_is_refused(tmp_path: Path) -> None:
    manifests, deltas = write(tmp_path, [{"w": np.ones(9, np.float32)} for _ in range(2)])
    data = bytearray(deltas[1].read_bytes())
    data[-1] ^= 1
    deltas[1].write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"shard1/delta.* is not what .*shard1/meta.* was written"):
        measure(tmp_path, manifests, deltas)


def test_shards_of_different_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tensor 'w' is F32 \[2\] in .*F32 \[3\] in"):
        measured(tmp_path, [{"w": np.ones(2, np.float32)}, {"w": np.ones(3, np.float32)}])


def test_same_shards_give_the_same_bytes(tmp_path: Path) -> None:
    written = write(tmp_path, pico_vectors(3))
    made = []
    for name in ("a", "b"):
        measure(tmp_path / name, *written)
        made.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert made[0] == made[1]


def test_memory_is_blocks_and_not_tensors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = write(
        tmp_path, [{"w": rng.standard_normal((256, 4096), dtype=np.float32)} for _ in range(2)]
    )
    tracemalloc.start()
    measure(tmp_path, *written)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # 2 blocks of 0.13 MB, in fp64 as well; both shards are 8 MB


def test_subsets_of_every_size_are_drawn_by_the_seed() -> None:
    subsets = choose_subsets(12, 10, 42)
    assert subsets == choose_subsets(12, 10, 42) != choose_subsets(12, 10, 43)
    assert subsets[:12] == [(i,) for i in range(12)]
    assert subsets[-1] == tuple(range(12))
    assert len(set(subsets)) == len(subsets)
    sizes = np.bincount([len(s) for s in subsets]).tolist()
    assert sizes == [0, 12, *[10] * 9, 10, 1]
    assert all(list(s) == sorted(set(s)) for s in subsets)


def test_few_subsets_are_all_taken() -> None:
    assert choose_subsets(1, 10, 0) == [(0,)]
    assert choose_subsets(4, 10, 0) == [c for k in range(1, 5) for c in combinations(range(4), k)]
