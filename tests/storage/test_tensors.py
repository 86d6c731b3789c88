"""Safetensors written in blocks: read back by the library's own reader, all or nothing."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from detoxmerge.errors import UserError
from detoxmerge.merge.parameter_names import layer_of
from detoxmerge.storage.artefacts import sha256
from detoxmerge.storage.tensors import layout, open_tensors, require_layout, row_blocks
from detoxmerge.storage.writing import write_tensors

TENSORS = {
    "b.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.array([1.5, -0.0, 3e-42], dtype=np.float32),  # a subnormal too
    "scalar": np.array(7.0, dtype=np.float32),
    "empty": np.zeros((0, 4), dtype=np.float32),
}


def write(path: Path, tensors: dict[str, np.ndarray]) -> str:
    with write_tensors(path, {n: t.shape for n, t in tensors.items()}) as writer:
        for tensor in tensors.values():
            for block in np.array_split(tensor, 2) if tensor.ndim else [tensor]:
                writer.write(block)
    return writer.sha256


def test_what_is_written_is_read_back_by_safetensors(tmp_path: Path) -> None:
    checksum = write(tmp_path / "t.safetensors", TENSORS)
    found = load_file(tmp_path / "t.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].tobytes() == tensor.tobytes()
        assert found[name].shape == tensor.shape
    assert checksum == sha256(tmp_path / "t.safetensors")


def test_places_may_be_written_in_any_order(tmp_path: Path) -> None:
    path, a, b = tmp_path / "t", np.arange(30.0, dtype=np.float32).reshape(5, 6), np.float32([7, 8])
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        with write_tensors(path, {"a": a.shape, "b": b.shape}) as writer:
            parts = [("a", 0, a[:2]), ("a", 12, a[2:4]), ("a", 24, a[4:]), ("b", 0, b)]
            for i in order:
                writer.write_at(*parts[i])
                writer.count(parts[i][0], parts[i][2].size)
        assert writer.sha256 == sha256(path)
        found = load_file(path)
        assert (found["a"].tobytes(), found["b"].tobytes()) == (a.tobytes(), b.tobytes())


def test_an_unfinished_file_never_appears(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    with (
        pytest.raises(ValueError, match="wrote"),
        write_tensors(path, {"a": (4,), "b": (4,)}) as writer,
    ):
        writer.write(np.zeros(4, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_an_exception_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write(path, TENSORS)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), write_tensors(path, {"a": (4,)}):
        raise RuntimeError
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_other_dtypes_are_refused(tmp_path: Path) -> None:
    wrong = pytest.raises(ValueError, match="wrote")
    with wrong, write_tensors(tmp_path / "t", {"a": (1,)}) as writer:
        writer.write(np.zeros(1))


@pytest.mark.parametrize("cut", [5, 60, 1])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "t.safetensors"
    write(path, TENSORS)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UserError, match="truncated or no safetensors"):
        open_tensors(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        open_tensors(tmp_path / "none.safetensors")


def test_layout_names_dtypes_and_shapes(tmp_path: Path) -> None:
    save_file({"x": np.zeros((2, 3), np.float16)}, tmp_path / "x.safetensors")
    assert layout(tmp_path / "x.safetensors") == {"x": ("F16", (2, 3))}


def test_the_first_difference_is_named_with_both_shapes_and_files() -> None:
    a = {"w": ("F32", (2, 3)), "z": ("F32", (1,))}
    b = {"w": ("F32", (3, 3)), "z": ("F32", (2,))}
    with pytest.raises(UserError) as error:
        require_layout(a, b, "one.safetensors", "two.safetensors")
    for word in ("'w'", "[2, 3]", "[3, 3]", "one.safetensors", "two.safetensors"):
        assert word in str(error.value)


def test_a_tensor_that_only_one_has_is_named() -> None:
    with pytest.raises(UserError, match=r"'w' is F32 \[2\] in one and missing in two"):
        require_layout({"w": ("F32", (2,))}, {}, "one", "two")


@pytest.mark.parametrize(("shape", "block"), [((7, 3), 6), ((1, 100), 5), ((5,), 2), ((4, 2), 99)])
def test_blocks_cover_the_first_axis_once(shape: tuple[int, ...], block: int) -> None:
    rows = [i for part in row_blocks(shape, block) for i in range(part.start, part.stop)]
    assert rows == list(range(shape[0]))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("transformer.h.3.attn.c_attn.weight", 3),
        ("h.11.mlp.c_proj.bias", 11),
        ("model.layers.0.self_attn.q_proj.weight", 0),
        ("model.decoder.layers.10.fc1.weight", 10),
        ("gpt_neox.layers.5.attention.dense.weight", 5),
        ("model.layers.3.block_sparse_moe.experts.7.w1.weight", 3),
        ("transformer.wte.weight", None),
        ("transformer.ln_f.weight", None),
        ("model.fc1.weight", None),
    ],
)
def test_layer_is_the_first_number_of_a_name(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer
