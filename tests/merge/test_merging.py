"""Merging against a dense fp64 reference; the same bytes in any order; bad vectors refused."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pico
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from detoxmerge.errors import UserError
from detoxmerge.merge import merging
from detoxmerge.merge.merging import merge_deltas


def task_vectors(
    folder: Path, count: int, shape: tuple[int, ...] = (5, 7), seed: int = 0
) -> list[Path]:
    """Deltas over many magnitudes, with zeros."""
    rng, paths = np.random.default_rng(seed), []
    for i in range(count):
        values = rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 5, shape)
        values[rng.random(shape) < 0.1] = 0
        one = {"w": values.astype(np.float32), "b": rng.standard_normal(3).astype(np.float32)}
        path = folder / f"vector{i}.safetensors"
        save_file(one, path)
        paths.append(path)
    return paths


def dense(paths: list[Path]) -> dict[str, np.ndarray]:
    """The reference: all vectors at once in fp64, rounded once."""
    loaded = [load_file(path) for path in sorted(paths)]
    return {
        name: np.mean([one[name].astype(np.float64) for one in loaded], axis=0).astype(np.float32)
        for name in loaded[0]
    }


@pytest.mark.parametrize("count", [1, 2, 5, 10])
@pytest.mark.parametrize("block", [1, 8, 1 << 20])
def test_mean_is_the_dense_fp64_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, block: int
) -> None:
    monkeypatch.setattr(merging, "BLOCK_ELEMENTS", block)
    paths = task_vectors(tmp_path, count)
    result = merge_deltas(paths, "mean", tmp_path / "out.safetensors")
    merged, wanted = load_file(tmp_path / "out.safetensors"), dense(paths)
    for name, tensor in wanted.items():
        assert merged[name].tobytes() == tensor.tobytes()
    square = sum(float((t.astype(np.float64) ** 2).sum()) for t in wanted.values())
    assert result["l2_norm"] == pytest.approx(square**0.5, rel=1e-12)


def test_mean_on_a_pico_model_is_exact(tmp_path: Path) -> None:
    model, paths = pico.gpt2(), []
    for i in range(5):
        delta = {n: t.numpy() for n, t in pico.noise(model, seed=i, size=1e-4).items()}
        paths.append(tmp_path / f"{i}.safetensors")
        save_file(delta, paths[-1])
    merge_deltas(paths, "mean", tmp_path / "out.safetensors")
    merged, wanted = load_file(tmp_path / "out.safetensors"), dense(paths)
    assert all(merged[name].tobytes() == wanted[name].tobytes() for name in wanted)


@given(order=st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_vectors_changes_no_byte(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("order")
    paths = task_vectors(folder, 6)
    merge_deltas(paths, "mean", folder / "a.safetensors")
    merge_deltas([paths[i] for i in order], "mean", folder / "b.safetensors")
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


@pytest.mark.parametrize("operator", ["mean", "model_stock"])
def test_the_number_of_threads_changes_no_byte(tmp_path: Path, operator: str) -> None:
    paths = task_vectors(tmp_path, 4, shape=(64, 64))
    code = (
        "import sys; from pathlib import Path; from detoxmerge.merge.merging import merge_deltas;"
        "merge_deltas([Path(p) for p in sys.argv[3:]], sys.argv[2], Path(sys.argv[1]))"
    )
    result = []
    for threads in ("1", "2"):
        out = tmp_path / f"threads{threads}.safetensors"
        env = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        env["PYTHONPATH"] = str(Path(merging.__file__).parents[2])
        subprocess.run([sys.executable, "-c", code, out, operator, *paths], env=env, check=True)
        result.append(out.read_bytes())
    assert result[0] == result[1]


def test_memory_is_blocks_and_not_tensors(tmp_path: Path) -> None:
    paths = task_vectors(tmp_path, 4, shape=(1024, 4096))  # 16 MB each
    tracemalloc.start()
    merge_deltas(paths, "mean", tmp_path / "out.safetensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # 4 blocks of 4 MB, the fp64 sum and its square; all vectors are 64 MB


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_with_nan_or_infinity_is_named(tmp_path: Path, value: float) -> None:
    paths = task_vectors(tmp_path, 3)
    broken = load_file(paths[1])
    broken["w"][2, 3] = value
    save_file(broken, paths[1])
    with pytest.raises(UserError, match=r"vector1.*'w' holds 1 values that are NaN or infinite"):
        merge_deltas(paths, "mean", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_vectors_of_different_models_are_refused(tmp_path: Path) -> None:
    a, b = task_vectors(tmp_path, 2)
    save_file({"w": np.zeros((5, 8), np.float32), "b": np.zeros(3, np.float32)}, b)
    with pytest.raises(UserError, match=r"tensor 'w' is F32 \[5, 7\] in .*F32 \[5, 8\] in"):
        merge_deltas([a, b], "mean", tmp_path / "out.safetensors")


def test_a_truncated_vector_is_named(tmp_path: Path) -> None:
    paths = task_vectors(tmp_path, 2)
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    with pytest.raises(UserError, match=r"vector1.*truncated"):
        merge_deltas(paths, "mean", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_half_precision_vectors_are_refused(tmp_path: Path) -> None:
    save_file({"w": np.zeros(3, np.float16)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="F16; task vectors are kept in F32"):
        merge_deltas([tmp_path / "a.safetensors"], "mean", tmp_path / "out.safetensors")


def test_zero_vectors_are_allowed(tmp_path: Path) -> None:
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    result = merge_deltas([tmp_path / "a.safetensors"], "mean", tmp_path / "out.safetensors")
    assert result["l2_norm"] == 0
