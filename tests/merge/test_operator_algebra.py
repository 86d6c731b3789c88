"""What holds of the operators by algebra: scale, sign, order of vectors, one vector, equal ones."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from merge.operator_cases import CASES, case_of
from merge.vectors import merge

from detoxmerge.errors import UserError
from detoxmerge.plan.registry import OPERATORS

# sums of whole numbers are exact in any order; small ones tie, cancel and are zero often
WHOLE = st.integers(-6, 6).map(np.float32)
FLOATS = st.one_of(
    st.just(0.0),
    st.floats(2.0**-60, 2.0**60, width=32),
    st.floats(-(2.0**60), -(2.0**-60), width=32),
)
EVERY = pytest.mark.parametrize("operator", sorted(OPERATORS))
UNORDERED = [name for name, case in CASES.items() if not case.ordered]
IDENTITY_AT_ONE = [name for name, case in CASES.items() if case.one is not None]
FEW = settings(max_examples=10, deadline=None)


def some_vectors(elements: Any, n: int = 4) -> Any:
    """N vectors of two tensors."""
    matrices = arrays(np.float32, (n, 3, 4), elements=elements)
    biases = arrays(np.float32, (n, 3), elements=elements)
    return st.builds(
        lambda w, b: [{"c_fc.weight": x, "c_fc.bias": y} for x, y in zip(w, b, strict=True)],
        matrices,
        biases,
    )


def times(factor: float, vectors: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    return [{n: np.float32(factor) * t for n, t in vector.items()} for vector in vectors]


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray], factor: float = 1.0) -> None:
    for name, tensor in a.items():
        np.testing.assert_array_equal(tensor, np.float32(factor) * b[name], name)


@EVERY
@FEW
@given(vectors=some_vectors(FLOATS), power=st.integers(-20, 20))
def test_scaled_vectors_merge_to_the_scaled_result(operator: str, vectors: Any, power: int) -> None:
    """f(c tau) = c f(tau) for c > 0; bit for bit, as c is a power of two."""
    result = merge(times(2.0**power, vectors), operator, case_of(operator).four)
    same(result, merge(vectors, operator, case_of(operator).four), 2.0**power)


@EVERY
@FEW
@given(vectors=some_vectors(st.one_of(WHOLE, FLOATS)))
def test_negated_vectors_merge_to_the_negated_result(operator: str, vectors: Any) -> None:
    """f(-tau) = -f(tau), ties and zeros included; the null depends on norms alone."""
    result = merge(times(-1, vectors), operator, case_of(operator).four)
    same(
        result, merge(vectors, operator, case_of(operator).four), 1 if operator == "random" else -1
    )


@pytest.mark.parametrize("operator", UNORDERED)
@FEW
@given(vectors=some_vectors(WHOLE), order=st.permutations(range(4)))
def test_which_vector_is_which_does_not_matter(operator: str, vectors: Any, order: Any) -> None:
    result = merge([vectors[i] for i in order], operator, case_of(operator).four)
    wanted = merge(vectors, operator, case_of(operator).four)
    for name, tensor in wanted.items():
        if operator == "magmax":  # of +x and -x the last is taken
            np.testing.assert_array_equal(np.abs(result[name]), np.abs(tensor))
        else:
            np.testing.assert_allclose(result[name], tensor, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("operator", IDENTITY_AT_ONE)
@FEW
@given(vectors=some_vectors(FLOATS, n=1))
def test_one_vector_is_the_single_task_vector(operator: str, vectors: Any) -> None:
    same(merge(vectors, operator, case_of(operator).one), vectors[0])


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - {"random", *IDENTITY_AT_ONE}))
def test_one_vector_is_refused_where_it_is_not_the_result(operator: str) -> None:
    with pytest.raises(UserError):
        merge([{"w": np.ones(3, np.float32)}], operator, case_of(operator).four)


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - {"random"}))
@FEW
@given(vectors=some_vectors(FLOATS, n=1))
def test_equal_vectors_merge_to_themselves(operator: str, vectors: Any) -> None:
    """tall_consensus only as mask_lambda (N - 1) is below 1."""
    params = case_of(operator).four
    if operator != "weighted":  # whose weights are as many as the vectors
        params = params | (case_of(operator).one or {})
    result = merge(vectors * 4, operator, params)
    for name, tensor in vectors[0].items():
        wanted = 4 * tensor if operator == "sum" else tensor
        np.testing.assert_allclose(result[name], wanted, rtol=2e-7, atol=0, err_msg=name)


@FEW
@given(vectors=some_vectors(FLOATS), power=st.integers(0, 3))
def test_sum_is_n_times_the_mean(vectors: Any, power: int) -> None:
    vectors = (vectors * 2)[: 2**power]
    same(merge(vectors, "sum"), merge(vectors, "mean"), 2**power)


def test_identical_vectors_are_dropped_by_tall_masks_of_many_shards() -> None:
    """With mask_lambda (N - 1) >= 1 no vector stands out of the others; the docstring warns."""
    one = {"w": np.ones(3, np.float32)}
    assert merge([one] * 5, "tall_consensus", {"mask_lambda": 0.2})["w"].all()
    assert not merge([one] * 7, "tall_consensus", {"mask_lambda": 0.2})["w"].any()


# by hand


@pytest.mark.parametrize(
    ("operator", "params", "columns", "merged"),
    [
        ("median", {}, [[1, 9, 2]], [2]),
        ("median", {}, [[1, 9, 2, 4]], [3]),
        ("trimmed_mean", {"trim": 0.34}, [[1, 9, 2], [-5, 0, 5]], [2, 0]),
        ("negmerge", {}, [[1, 2, 3], [1, 2, -3], [1, 2, 0], [-1, -2, -3]], [2, 0, 0, -2]),
        ("negmerge", {"consensus": 0.3}, [[1, 2, -3], [1, 0, 0], [1, -1, 0]], [0, 1 / 3, 0]),
        ("magmax", {}, [[1, -9, 2], [3, -3, 1]], [-9, -3]),
        # one of four entries is kept of each vector; where vectors disagree the heavier sign wins
        ("ties", {"density": 0.25}, [[9, 5], [1, 0], [2, 4], [0, 1]], [7, 0, 0, 0]),
        ("ties", {"density": 1.0}, [[4, -3, -2], [1, -1, 0], [0, 0, 5]], [-2.5, 0, 5]),
        # two values tie at the threshold of the first vector, and both are kept
        ("ties", {"density": 0.25}, [[5, 1], [-5, 0], [1, 0], [1, 9]], [5, -5, 0, 9]),
        # of ten entries one is an outlier, the next seven are kept
        (
            "breadcrumbs",
            {"density": 0.7, "gamma": 0.1},
            [[x] for x in (10, -9, 8, -7, 6, -5, 4, -3, 2, -1)],
            [0, -9, 8, -7, 6, -5, 4, -3, 0, 0],
        ),
        ("tall_consensus", {"mask_lambda": 0.5}, [[4, 4, 0], [9, 1, 0], [5, 4, -9]], [8 / 3, 0, 0]),
        ("snr", {}, [[1, 2, 3], [1, -1, 0], [5, 5, 5]], [2 - 1 / 6, 0, 5]),
        ("snr", {"threshold": 3.4}, [[1, 2, 3], [1, 2, 3.2]], [2, 0]),
        ("snr", {"threshold": 3.5}, [[1, 2, 3], [1, -1, 0]], [0, 0]),
        ("model_stock", {}, [[1, 0], [0, 1]], [0, 0]),
        ("model_stock", {}, [[1, 1], [0, 1]], [0.8284271, 0.4142136]),
    ],
)
def test_small_cases_by_hand(operator: str, params: Any, columns: Any, merged: Any) -> None:
    """`columns` has the values of the vectors at each entry of one tensor."""
    vectors = [{"w": np.array(row, np.float32)} for row in zip(*columns, strict=True)]
    result = merge(vectors, operator, params)["w"]
    np.testing.assert_allclose(result, merged, rtol=1e-6, atol=1e-12)


def test_global_trim_compares_entries_of_all_tensors() -> None:
    vector = {"a": np.array([1, 2], np.float32), "b": np.array([3, 4], np.float32)}
    result = merge([vector], "ties", {"density": 0.5})
    assert (result["a"].tolist(), result["b"].tolist()) == ([0, 0], [3, 4])


def test_dropped_shares_and_rescaling_are_those_of_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    vector = {"c_fc.weight": np.abs(rng.standard_normal((200, 100))).astype(np.float32)}
    value = vector["c_fc.weight"]
    dare = merge([vector], "dare", {"density": 0.3})["c_fc.weight"]
    assert (dare != 0).mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(dare[dare != 0], (value / 0.3)[dare != 0], rtol=1e-6)
    assert dare.mean() == pytest.approx(value.mean(), rel=0.03)  # unbiased
    for layout, axis in (("linear", 1), ("conv1d", 0)):
        della = merge([vector], "della", {"layout": layout, "density": 0.5, "epsilon": 0.3})
        della = della["c_fc.weight"]
        large = value >= np.median(value, axis=axis, keepdims=True)
        kept = [(della != 0)[part].mean() for part in (large, ~large)]
        assert kept == pytest.approx([0.65, 0.35], abs=0.015)
        assert della.mean() == pytest.approx(value.mean(), rel=0.03)


def test_draws_differ_by_shard_tensor_and_seed() -> None:
    ones = {name: np.ones(400, np.float32) for name in ("a", "b")}
    result = merge([ones], "dare")
    assert (result["a"] != result["b"]).any()
    both = merge([ones] * 2, "dare")["a"]
    assert set(np.unique(both)) == {0.0, 1.0, 2.0}  # one drops what the other keeps
    assert (merge([ones], "dare", {"operator_seed": 1})["a"] != result["a"]).any()
    noise = merge([ones], "random")
    assert abs(np.corrcoef(noise["a"], noise["b"])[0, 1]) < 0.2


def test_the_null_has_the_means_norm_in_each_tensor() -> None:
    rng = np.random.default_rng(0)
    vectors = [{"a": rng.standard_normal((30, 40), np.float32), "b": np.ones(7, np.float32)}]
    vectors += [{name: -0.5 * tensor for name, tensor in vectors[0].items()}]
    noise, mean = merge(vectors, "random"), merge(vectors, "mean")
    for name, tensor in mean.items():
        assert np.linalg.norm(noise[name]) == pytest.approx(np.linalg.norm(tensor), rel=1e-6)
    z = noise["a"] / noise["a"].std()
    assert abs(z.mean()) < 0.1
    assert np.mean(np.abs(z) < 1) == pytest.approx(0.6827, abs=0.04)
