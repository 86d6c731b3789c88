"""The k-th largest magnitude, exactly, whatever the values and however they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detoxmerge.edit.order_statistics import nth_largest

# all finite fp32 are likely: few bit patterns in common, or many
PATTERNS = st.one_of(
    st.integers(0, 0x7F7FFFFF), st.integers(0x3F800000, 0x3F800003), st.just(0), st.just(0x7F7FFFFF)
)


@given(
    bits=arrays(np.uint32, st.integers(1, 30), elements=PATTERNS),
    negative=st.integers(0, 2**30 - 1),
    cut=st.integers(1, 30),
)
@settings(max_examples=50, deadline=None)
def test_it_is_that_of_the_sorted_values(bits: np.ndarray, negative: int, cut: int) -> None:
    signs = np.array([negative >> i & 1 for i in range(len(bits))], np.uint32)
    values = (bits | signs << np.uint32(31)).view(np.float32)
    ranks = [1, len(values), (len(values) + 1) // 2]
    other = values[::-1] * np.float32(0.5)

    def blocks():
        for start in range(0, len(values), cut):
            yield [values[start : start + cut], other[start : start + cut]]

    found = nth_largest(lambda function: map(function, blocks()), ranks)
    assert found.dtype == np.float32
    for i, vector in enumerate((values, other)):
        ordered = np.sort(np.abs(vector))[::-1]
        np.testing.assert_array_equal(found[i], ordered[[k - 1 for k in ranks]])


@pytest.mark.parametrize("k", [1, 2, 500_000, 999_999, 1_000_000])
def test_a_million_values_of_one_magnitude_are_told_apart(k: int) -> None:
    bits = np.arange(1_000_000, dtype=np.uint32) + np.uint32(0x3A000000)
    np.random.default_rng(0).shuffle(bits)
    values = bits.view(np.float32)
    (found,) = nth_largest(lambda f: map(f, ([part] for part in np.split(values, 10))), [k])[0]
    assert found == np.sort(values)[-k]
