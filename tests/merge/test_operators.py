"""Every operator against its dense reference; the same bytes however it is cut; what it refuses."""

import inspect
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pico
import pytest
from merge.operator_cases import CASES, case_of
from merge.vectors import SHAPES, merge, params_of, task_vectors, write
from safetensors.numpy import load_file

from detoxmerge.errors import UserError
from detoxmerge.merge import merging
from detoxmerge.merge.merging import merge_deltas
from detoxmerge.plan.entries import Entry
from detoxmerge.plan.registry import OPERATORS
from detoxmerge.storage.artefacts import sha256

EVERY = sorted(OPERATORS)
COMPARED = [(name, params) for name, case in CASES.items() for params in case.five]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("operator", "params"), COMPARED)
def test_operator_is_its_dense_reference(operator: str, params: dict[str, Any], seed: int) -> None:
    vectors = task_vectors(5, seed)
    result = merge(vectors, operator, params)
    wanted = case_of(operator).reference(vectors, **params)
    for name, tensor in wanted.items():
        assert result[name].shape == SHAPES[name]
        # one rounding to fp32, of numbers that differ by that of fp64 sums
        most = np.max([np.abs(v[name]) for v in vectors], axis=0)
        near = np.spacing(np.abs(tensor.astype(np.float32))) * np.float64(0.5001) + 1e-14 * most
        assert (np.abs(result[name] - tensor) <= near).all(), name


@pytest.mark.parametrize("operator", EVERY)
def test_every_operator_has_a_case_and_a_reference(operator: str) -> None:
    assert case_of(operator).five


def test_no_case_is_of_an_operator_that_is_gone() -> None:
    assert set(CASES) <= set(EVERY)


def test_a_missing_case_is_one_sentence() -> None:
    with pytest.raises(LookupError, match=r"'new' has no entry in CASES of tests/merge/operator_c"):
        case_of("new")


@pytest.mark.parametrize("operator", EVERY)
def test_no_byte_depends_on_blocks_or_the_order_of_paths(
    operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, result = write(task_vectors(4), tmp_path), set()
    # weights are in the order of the paths; by default they follow the numbers of texts
    four = {name: value for name, value in case_of(operator).four.items() if name != "weights"}
    params = params_of(operator, **four)
    for block, order in ((1 << 20, [0, 1, 2, 3]), (1, [2, 0, 3, 1]), (7, [3, 2, 1, 0])):
        monkeypatch.setattr(merging, "BLOCK_ELEMENTS", block)
        given, sizes = [paths[i] for i in order], [10 + i for i in order]
        merge_deltas(given, operator, tmp_path / "out", params, num_texts=sizes)
        result.add((tmp_path / "out").read_bytes())
    assert len(result) == 1


@pytest.mark.parametrize("operator", EVERY)
def test_a_model_with_tied_weights_keeps_its_tensors(operator: str, tmp_path: Path) -> None:
    model = pico.gpt2()
    common, *own = (pico.noise(model, seed=i, size=1e-4) for i in range(6))
    vectors = [{n: (t + one[n]).numpy() for n, t in common.items()} for one in own]
    result = merge(vectors, operator, num_texts=[1, 2, 3, 4, 5])
    assert result.keys() == dict(model.named_parameters()).keys()
    assert "lm_head.weight" not in result  # it is wte
    assert all(np.isfinite(tensor).all() and tensor.any() for tensor in result.values())


@pytest.mark.parametrize("operator", ["ties", "breadcrumbs", "median", "della", "snr", "random"])
def test_memory_is_blocks_and_not_tensors(
    operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = [{"w": rng.standard_normal((8192, 512), np.float32)} for _ in range(4)]
    paths = write(vectors, tmp_path)
    monkeypatch.setattr(merging, "BLOCK_ELEMENTS", 1 << 14)
    monkeypatch.setattr(merging, "keep_freed_memory", lambda: None)  # is freed at once
    tracemalloc.start()
    merge_deltas(paths, operator, tmp_path / "out", params_of(operator))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6  # all vectors are 67 MB; some blocks, and tables of counts, under way


def test_a_tensor_whose_columns_are_ranked_is_in_memory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, shape = [f"h.{i}.mlp.c_fc.weight" for i in range(4)], (512, 1024)
    rng = np.random.default_rng(0)
    vectors = [{n: rng.standard_normal(shape, np.float32) for n in names} for _ in range(4)]
    paths, params = write(vectors, tmp_path), params_of("della", layout="conv1d")
    monkeypatch.setattr(merging, "keep_freed_memory", lambda: None)  # is freed at once
    tracemalloc.start()
    merged = merge_deltas(paths, "della", tmp_path / "out", params)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert merged["sha256"] == sha256(tmp_path / "out")
    least = (8 * 4 + 8) * 512 * 1024  # by the operator's docstring; all vectors are 34 MB
    assert least < peak < least + 4e6


# bad input


def broken_nan(vector: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return vector | {"wte.weight": np.full(SHAPES["wte.weight"], np.nan, np.float32)}


def broken_missing(vector: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in vector.items() if name != "scalar"}


def broken_extra(vector: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return vector | {"attn.bias": np.ones(3, np.float32)}


def broken_dtype(vector: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return vector | {"ln_f.weight": vector["ln_f.weight"].astype(np.float16)}


@pytest.mark.parametrize("operator", ["mean", "ties", "breadcrumbs", "model_stock", "random"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (broken_nan, r"vector01.*'wte.weight' holds 66 values that are NaN or infinite"),
        (broken_missing, r"tensor 'scalar' is F32 \[\] in .*vector00.* and missing in .*vector01"),
        (
            broken_extra,
            r"tensor 'attn.bias' is missing in .*vector00.* and F32 \[3\] in .*vector01",
        ),
        (broken_dtype, r"'ln_f.weight' is F16; task vectors are kept in F32"),
        (None, r"vector01.safetensors is truncated"),
    ],
)
def test_a_broken_vector_is_named_by_every_kind_of_operator(
    operator: str, spoil: Any, words: str, tmp_path: Path
) -> None:
    vectors = task_vectors(3)
    if spoil:
        vectors[1] = spoil(vectors[1])
    paths = write(vectors, tmp_path)
    if not spoil:
        paths[1].write_bytes(paths[1].read_bytes()[:-5])
    with pytest.raises(UserError, match=words):
        merge_deltas(paths, operator, tmp_path / "out", params_of(operator))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("operator", EVERY)
def test_a_vector_that_is_zero_is_merged_and_named(
    operator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = task_vectors(5)
    vectors[3] = {name: np.zeros_like(tensor) for name, tensor in vectors[3].items()}
    paths, out = write(vectors, tmp_path), tmp_path / "out"
    record = merge_deltas(paths, operator, out, params_of(operator), num_texts=[1] * 5)
    assert [norm == 0 for norm in record["shard_l2_norms"]] == [False, False, False, True, False]
    assert capsys.readouterr().out == f"{paths[3]}: all values are 0; it is merged as it is\n"
    assert all(np.isfinite(tensor).all() for tensor in load_file(out).values())


@pytest.mark.parametrize("operator", EVERY)
def test_zero_vectors_merge_to_zero(operator: str) -> None:
    zeros = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    result = merge([zeros] * 5, operator, num_texts=[1] * 5)
    assert not any(tensor.any() for tensor in result.values())


def test_a_sum_beyond_fp32_is_refused(tmp_path: Path) -> None:
    paths = write([{"w": np.full(3, 3e38, np.float32)}] * 2, tmp_path)
    with pytest.raises(UserError, match="tensor 'w': the merged values are too large for fp32"):
        merge_deltas(paths, "sum", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("operator", "n", "params", "words"),
    [
        ("snr", 2, {}, "n must be 3 or more"),
        ("model_stock", 1, {}, "n must be 2 or more"),
        ("tall_consensus", 1, {}, "min_shards 2 of 1 task vectors keeps nothing"),
        ("trimmed_mean", 4, {}, "trim 0.2 of 4 task vectors cuts none"),
        ("weighted", 2, {"weights": [1.0]}, "2 task vectors need 2 weights, not 1"),
        ("weighted", 2, {}, "the number of texts of each fine-tune is not known; give `weights`"),
    ],
)
def test_too_few_shards_are_refused(operator: str, n: int, params: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        merge(task_vectors(n), operator, params)


@pytest.mark.parametrize(
    ("operator", "params", "words"),
    [
        ("weighted", {"weights": [-0.5, 1.5]}, "the minus is in the scale"),
        ("weighted", {"weights": [0.5, 0.25]}, "have the sum 1, not 0.75"),
        ("weighted", {"weights": [float("nan"), 1.0]}, "finite number"),
        ("della", {"layout": "linear", "density": 0.9}, "probabilities outside"),
        ("della", {"layout": "linear", "density": 0.1}, "probabilities outside"),
        ("breadcrumbs", {"density": 1.0}, "sum above 1"),
        ("ties", {"density": 0}, "greater than 0"),
        ("ties", {"density": "0.2"}, "valid number"),
        ("mean", {"density": 0.2}, "not permitted"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(operator: str, params: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OPERATORS[operator].Params(**params)


# what is done beside the operator


@pytest.mark.parametrize("operator", ["mean", "ties", "random", "model_stock"])
def test_excluded_tensors_are_zero_and_seen_by_no_operator(operator: str, tmp_path: Path) -> None:
    vectors, out = task_vectors(5), tmp_path / "out"
    record = merge_deltas(
        write(vectors, tmp_path), operator, out, params_of(operator), exclude=["WTE", "h.1."]
    )
    result = load_file(out)
    assert record["excluded"] == ["h.1.experts", "wte.weight"]
    rest = [{n: v for n, v in x.items() if n not in record["excluded"]} for x in vectors]
    alone = merge(rest, operator)
    assert result.keys() == SHAPES.keys()
    for name, shape in SHAPES.items():
        wanted = alone.get(name, np.zeros(shape, np.float32))
        assert result[name].tobytes() == wanted.tobytes()


def test_exclusion_that_names_nothing_or_all_is_refused() -> None:
    with pytest.raises(UserError, match=r"no tensor's name contains 'wtee'; did you mean 'wte'\?"):
        merge(task_vectors(1), "mean", exclude=["wtee"])
    with pytest.raises(UserError, match="every tensor would be left out"):
        merge(task_vectors(1), "mean", exclude=["e", "scalar", "a"])


@pytest.mark.parametrize("operator", ["mean", "ties", "magmax"])
def test_lines_scales_blocks_by_depth_whatever_the_operator(operator: str) -> None:
    vectors = [
        {n: np.full(2, 1.0 + i, np.float32) for n in ("h.0.w", "h.1.w", "h.2.w", "wte")}
        for i in range(3)
    ]
    plain = merge(vectors, operator, {"density": 1.0} if operator == "ties" else {})["wte"]
    for lines, factors in (((0.5, None), (0.5, 0.75, 1.0)), ((0.25, 1.0), (0.25, 0.75, 1.25))):
        params = {"density": 1.0} if operator == "ties" else {}
        result = merge(vectors, operator, params, lines=lines)
        for block, factor in enumerate(factors):
            assert (result[f"h.{block}.w"] == factor * plain).all()
        assert (result["wte"] == lines[0] * plain).all()
    with pytest.raises(UserError, match="no tensor's name has the number of a block"):
        merge([{"w": np.ones(2, np.float32)}] * 3, operator, lines=(0.5, None))


# what the manifest tells


def test_facts_about_the_vectors_are_told(tmp_path: Path) -> None:
    vectors = [{"w": np.array([3, -2, 1, 0, -5], np.float32) * (i + 1)} for i in range(2)]
    vectors[1]["w"] *= -1
    paths, out = write(vectors, tmp_path), tmp_path / "out"
    ties = merge_deltas(paths, "ties", out, params_of("ties", density=0.4))
    assert ties["operator"] == {"thresholds": [3.0, 6.0]}
    stock = merge_deltas(paths, "model_stock", out)
    assert stock["operator"] == {"shrinkage": {"w": 0.0}, "num_tensors_with_negative_cosine": 1}
    assert not load_file(out)["w"].any()
    weighted = merge_deltas(paths[::-1], "weighted", out, num_texts=[3, 1])
    assert weighted["operator"] == {"weights": [0.75, 0.25]}
    np.testing.assert_array_equal(
        load_file(out)["w"], (0.25 * vectors[0]["w"] + 0.75 * vectors[1]["w"])
    )
    assert merge_deltas(paths, "mean", out).keys() == {
        "file", "sha256", "l2_norm", "shard_l2_norms",
    }  # fmt: skip


# the contract


@pytest.mark.parametrize("name", EVERY)
def test_module_states_what_the_workflow_asks_of_it(name: str) -> None:
    module = OPERATORS[name]
    assert module.__doc__
    assert module.REFERENCE
    assert (name == "mean") != hasattr(module, "VERSION")  # the mean's is that of the method
    assert issubclass(module.Params, Entry)  # strict, and without unknown keys
    assert all(field.description for field in module.Params.model_fields.values())
    assert len(inspect.getsource(module).splitlines()) < 130


def test_parameters_are_needed_only_where_nothing_can_be_assumed() -> None:
    required = {
        (name, parameter)
        for name, module in OPERATORS.items()
        for parameter, field in module.Params.model_fields.items()
        if field.is_required()
    }
    assert required == {("della", "layout")}
