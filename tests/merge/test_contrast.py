"""Ext-Sub and plain subtraction against the formulas of the paper, dense and row by row."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from merge import vectors
from safetensors.numpy import load_file

from detoxmerge.errors import UserError
from detoxmerge.merge import merging
from detoxmerge.merge.contrast import subtract

TURNED = {"h.0.mlp.c_fc.weight"}
Tensors = dict[str, np.ndarray]


def contrast(folder: Path, expert: Tensors, antis: list[Tensors], alpha: float, **how: Any) -> Any:
    """The result of `subtract`, and what it says of it."""
    folder.mkdir(exist_ok=True)
    paths = vectors.write([*antis, expert], folder)  # the expert's path is not the first
    result = subtract(paths[-1], paths[:-1], alpha, folder / "out.safetensors", **how)
    return load_file(folder / "out.safetensors"), result


def row_by_row(plus: np.ndarray, minus: np.ndarray, alpha: float) -> np.ndarray:
    """Ext-Sub of one row as the paper has it, in extended precision; 0 / |0| = 0."""

    def unit(row: np.ndarray) -> np.ndarray:
        norm = np.sqrt((row * row).sum())
        return row / norm if norm > 0 else row

    plus, minus = plus.astype(np.longdouble), minus.astype(np.longdouble)
    if not plus.any():
        assert not (minus - (minus @ unit(minus)) * unit(minus)).round(9).any()
        return plus
    u = unit(unit(plus) + unit(minus))
    return plus - alpha * (minus - (minus @ u) * u) if minus.any() else plus


def dense(name: str, plus: np.ndarray, minus: np.ndarray, alpha: float) -> np.ndarray:
    """Ext-Sub of a tensor."""
    if name in TURNED:
        return dense("", plus.T, minus.T, alpha).T
    rows = (max(1, int(np.prod(plus.shape[:-1]))), -1)
    pairs = zip(plus.reshape(rows), minus.reshape(rows), strict=True)
    return np.stack([row_by_row(a, b, alpha) for a, b in pairs]).reshape(plus.shape)


@pytest.mark.parametrize("num_antis", [1, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_ext_sub_is_the_formula_of_the_paper(tmp_path: Path, num_antis: int, alpha: float) -> None:
    rng = np.random.default_rng(4)
    expert, *antis = (
        {name: rng.standard_normal(shape, np.float32) for name, shape in vectors.SHAPES.items()}
        for _ in range(1 + num_antis)
    )
    expert["wte.weight"][3] = 0
    for anti in antis:
        anti["wte.weight"][[3, 5]] = 0
        anti["wte.weight"][6] = expert["wte.weight"][6]  # ties: all is shared
        anti["h.0.mlp.c_fc.weight"][:, 2] = 0
    result, _ = contrast(tmp_path, expert, antis, alpha, turned=TURNED)
    for name, plus in expert.items():
        minus = np.mean([anti[name].astype(np.float64) for anti in antis], axis=0)
        wanted = dense(name, plus, minus, alpha) if plus.size else plus
        np.testing.assert_allclose(result[name], wanted, rtol=2e-7, atol=1e-12, err_msg=name)
    assert (result["wte.weight"][5:7] == expert["wte.weight"][5:7]).all()


def test_values_of_many_magnitudes_zeros_and_ties(tmp_path: Path) -> None:
    expert, anti = vectors.task_vectors(2)
    result, _ = contrast(tmp_path, expert, [anti], 1.0, turned=TURNED)
    for name, plus in expert.items():
        if plus.size:
            wanted = dense(name, plus, anti[name], 1.0).astype(np.float64)
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(result[name], wanted, rtol=3e-7, atol=1e-12 * scale)


def test_rows_in_opposite_directions_share_nothing(tmp_path: Path) -> None:
    expert = {"w": np.array([[3, 4], [1, 0], [0, 2]], np.float32)}
    anti = {"w": np.array([[-6, -8], [0, 0], [5, 0]], np.float32)}
    result, _ = contrast(tmp_path, expert, [anti], 1.0, turned=())
    # opposite: plain subtraction; zero: nothing; at right angles: (b - |b| a) / 2 goes
    assert result["w"].tolist() == [[9, 12], [1, 0], [-2.5, 4.5]]


def test_a_row_that_the_expert_left_alone_stays(tmp_path: Path) -> None:
    expert, anti = {"w": np.zeros((2, 2), np.float32)}, {"w": np.ones((2, 2), np.float32)}
    result, record = contrast(tmp_path, expert, [anti], 1.0, turned=())
    assert not result["w"].any()
    assert record["l2_norm"] == 0


def test_rows_of_a_turned_matrix_are_its_columns(tmp_path: Path) -> None:
    expert, anti = vectors.task_vectors(2)
    name = "h.0.mlp.c_fc.weight"
    turned, _ = contrast(tmp_path, expert, [anti], 1.0, turned=TURNED)
    flipped = [one | {name: np.ascontiguousarray(one[name].T)} for one in (expert, anti)]
    straight, _ = contrast(tmp_path, flipped[0], [flipped[1]], 1.0, turned=())
    np.testing.assert_allclose(turned[name], straight[name].T, rtol=3e-7)
    plain, _ = contrast(tmp_path, expert, [anti], 1.0, turned=())
    assert not np.allclose(turned[name], plain[name])


@pytest.mark.parametrize("num_antis", [1, 4])
def test_subtraction_is_dense_fp64_rounded_once(tmp_path: Path, num_antis: int) -> None:
    expert, *antis = vectors.task_vectors(1 + num_antis)
    result, record = contrast(tmp_path, expert, antis, 0.7)
    square = 0.0
    for name, plus in expert.items():
        total = antis[0][name].astype(np.float64)
        for anti in antis[1:]:
            total = total + anti[name]
        wanted = (plus.astype(np.float64) - 0.7 * (total / num_antis)).astype(np.float32)
        assert result[name].tobytes() == wanted.tobytes(), name
        square += float(np.square(plus, dtype=np.float64).sum())
    assert record["expert_l2_norm"] == pytest.approx(square**0.5)
    assert len(record["anti_expert_l2_norms"]) == num_antis


@pytest.mark.parametrize("turned", [None, TURNED])
def test_neither_threads_nor_blocks_nor_order_change_a_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned: set[str] | None
) -> None:
    shapes = {"h.0.mlp.c_fc.weight": (300, 257), "b": (70_000,), "w": (300, 257)}
    rng, folder, result = np.random.default_rng(0), tmp_path / "in", set()
    folder.mkdir()
    made = [{n: rng.standard_normal(s, np.float32) for n, s in shapes.items()} for _ in range(3)]
    expert, *antis = vectors.write(made, folder)
    for workers, block, order in [(1, 1 << 18, 1), (2, 1 << 18, -1), (4, 1000, 1), (1, 1, -1)]:
        monkeypatch.setattr(merging, "BLOCK_ELEMENTS", block if block > 1 else 300)
        out = tmp_path / "out.safetensors"
        subtract(expert, antis[::order], 1.0, out, turned=turned, workers=workers)
        result.add(out.read_bytes())
    assert len(result) == 1


def test_memory_is_blocks_and_not_tensors(tmp_path: Path) -> None:
    made = [{"h.0.mlp.c_fc.weight": np.ones((2048, 4096), np.float32)} for _ in range(2)]
    expert, anti = vectors.write(made, tmp_path)
    tracemalloc.start()
    subtract(expert, [anti], 1.0, tmp_path / "out.safetensors", turned=TURNED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # one tensor is 34 MB, in fp64 67 MB


def test_bad_vectors_are_one_sentence(tmp_path: Path) -> None:
    expert, anti = {"w": np.ones((2, 2), np.float32)}, {"w": np.full((2, 2), np.nan, np.float32)}
    for turned in (None, {"w"}):
        with pytest.raises(UserError, match=r"vector00.*'w' holds 4 values that are NaN"):
            contrast(tmp_path, expert, [anti], 1.0, turned=turned)
    with pytest.raises(UserError, match="do not belong to the same model: tensor 'w'"):
        contrast(tmp_path, expert, [{"w": np.ones((2, 3), np.float32)}], 1.0)
    with pytest.raises(UserError, match="too large for fp32"):
        contrast(tmp_path, expert, [{"w": np.full((2, 2), 3e38, np.float32)}], 2.0)
    assert not (tmp_path / "out.safetensors").exists()
