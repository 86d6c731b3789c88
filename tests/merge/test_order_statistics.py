"""The k-th largest magnitude, exactly, whatever the values and however they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detoxmerge.merge import order_statistics
from detoxmerge.merge.order_statistics import nth_largest

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

    result = nth_largest(lambda function: map(function, blocks()), ranks)
    assert result.dtype == np.float32
    for i, vector in enumerate((values, other)):
        ordered = np.sort(np.abs(vector))[::-1]
        np.testing.assert_array_equal(result[i], ordered[[k - 1 for k in ranks]])


@pytest.mark.parametrize("k", [1, 2, 500_000, 999_999, 1_000_000])
def test_a_million_values_of_one_magnitude_are_told_apart(k: int) -> None:
    bits = np.arange(1_000_000, dtype=np.uint32) + np.uint32(0x3A000000)
    np.random.default_rng(0).shuffle(bits)
    values = bits.view(np.float32)
    (result,) = nth_largest(lambda f: map(f, ([part] for part in np.split(values, 10))), [k])[0]
    assert result == np.sort(values)[-k]


@given(
    bits=arrays(np.uint32, st.integers(1, 200), elements=PATTERNS),
    seed=st.integers(0, 99),
    cut=st.integers(1, 200),
)
@settings(max_examples=100, deadline=None)
def test_no_sample_makes_it_wrong(bits: np.ndarray, seed: int, cut: int) -> None:
    values, rng = bits.view(np.float32), np.random.default_rng(seed)
    ranks = [1, len(values), (len(values) + 1) // 2]
    good = rng.choice(values, 1 + len(values) // 3, replace=False)
    for sample in (good, np.zeros(50, np.float32), np.full(50, np.float32(3e38))):
        blocks = [[values[at : at + cut]] for at in range(0, len(values), cut)]
        result = nth_largest(lambda f, blocks=blocks: map(f, blocks), ranks, [sample], len(values))
        np.testing.assert_array_equal(result[0], np.sort(values)[::-1][[k - 1 for k in ranks]])


@pytest.mark.parametrize(("bad", "passes"), [(False, 1), (True, 3)])
def test_a_good_sample_saves_the_second_pass(bad: bool, passes: int) -> None:
    values, count = np.random.default_rng(0).standard_normal(200_000).astype(np.float32), []

    def over(function):
        count.append(1)
        return map(function, ([part] for part in np.split(values, 10)))

    (result,) = nth_largest(over, [40_000], [values[::20] * (10 if bad else 1)], len(values))[0]
    assert result == np.sort(np.abs(values))[-40_000]
    assert len(count) == passes


def test_values_are_gathered_in_the_memory_of_the_different_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(order_statistics, "TO_GATHER", 100)
    tally, rng = order_statistics._Tally(), np.random.default_rng(0)
    parts = [rng.integers(0, 30, 70).astype(np.uint32) for _ in range(20)]
    for part in parts:
        tally.add(part)
        assert sum(map(len, tally._more)) <= 100
    wanted = np.unique(np.concatenate(parts), return_counts=True)
    np.testing.assert_array_equal(tally.counted(), wanted)
    np.testing.assert_array_equal(tally.counted(), wanted)  # counted once, however often asked
