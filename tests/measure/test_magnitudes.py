"""Magnitudes counted by their bits are counted as numpy.histogram and `<` count them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detoxmerge.measure.change import FROM_ZERO, LINEAR_EDGES, THRESHOLDS
from detoxmerge.measure.magnitudes import Counter, cuts

EDGES = (LINEAR_EDGES, FROM_ZERO)
CUTS = [cuts(edges, last_bin_closed=True) for edges in EDGES]
BELOW = cuts(np.float32(THRESHOLDS).astype(np.float64))
COUNTER = Counter(BELOW, *CUTS)


def same_as_numpy(values: np.ndarray) -> None:
    counts, size = COUNTER.count(values), np.abs(values)
    assert counts.sum() == values.size
    for edges, at in zip(EDGES, CUTS, strict=True):
        wanted = np.histogram(size, edges)[0]
        np.testing.assert_array_equal(np.diff(COUNTER.below(counts, at)), wanted)
    assert COUNTER.below(counts, BELOW).tolist() == [int((size < t).sum()) for t in THRESHOLDS]


@pytest.mark.parametrize("sign", [1, -1])
def test_values_at_and_beside_every_edge_fall_where_numpy_puts_them(sign: int) -> None:
    values = np.concatenate([*EDGES, THRESHOLDS]).astype(np.float32)
    near = [np.nextafter(values, np.float32(towards)) for towards in (0, np.inf)]
    same_as_numpy(np.float32(sign) * np.concatenate([values, *near]))
    for value in (0.0, 1e-45, 0.01, 99.99999, 100.0, 100.00001, 3e38):
        same_as_numpy(np.full(3, sign * value, np.float32))


@given(arrays(np.uint32, st.integers(0, 200), elements=st.integers(0, 0x7F7FFFFF)), st.booleans())
@settings(max_examples=50, deadline=None)
def test_all_bit_patterns_are_counted(bits: np.ndarray, negative: bool) -> None:
    same_as_numpy((bits | np.uint32(negative << 31)).view(np.float32))


@pytest.mark.parametrize("size", [1e-13, 1e-6, 2e-5, 3e-3, 1.0])
def test_many_values_of_one_scale(size: float) -> None:
    rng = np.random.default_rng(0)
    same_as_numpy((size * rng.standard_normal(20_000)).astype(np.float32))


def test_a_cut_is_the_least_fp32_that_is_not_below_its_edge() -> None:
    edges = np.array([0.1, 0.5, 2e-5])  # 0.1 and 2e-5 are no fp32
    least = cuts(edges).view(np.float32)
    assert (least >= edges).all()
    assert (np.nextafter(least, np.float32(0)) < edges).all()
    assert cuts(edges[:2], last_bin_closed=True).view(np.float32)[1] == np.nextafter(
        np.float32(0.5), np.float32(1)
    )
