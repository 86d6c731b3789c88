"""Random numbers by place: any part of the sequence is that part of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from detoxmerge.merge.randomness import draws, normals, uniforms


@given(start=st.integers(0, 400), count=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_a_part_is_that_part_of_the_whole(start: int, count: int) -> None:
    for draw in (draws, uniforms, normals):
        whole = draw("a key", 0, start + count)
        assert len(whole) == start + count
        np.testing.assert_array_equal(draw("a key", start, count), whole[start:])


def test_far_places_cost_no_more_than_near_ones() -> None:
    assert uniforms("a key", 10**15 + 3, 2).shape == (2,)
    assert draws("a key", 10**15 + 3, 2).shape == (2,)


def shares(key: str, start: int, count: int) -> np.ndarray:
    return draws(key, start, count) / 2**32


@pytest.mark.parametrize(
    ("draw", "law"), [(shares, "uniform"), (uniforms, "uniform"), (normals, "norm")]
)
def test_numbers_follow_their_law_and_keys_are_independent(draw: object, law: str) -> None:
    result = [draw(f"42/{i}/w", 0, 5000) for i in range(3)]
    assert min(kstest(one, law).pvalue for one in result) > 1e-3
    assert np.abs(np.corrcoef(result) - np.eye(3)).max() < 0.05
    assert np.isfinite(result).all()


def test_the_first_numbers_stay_what_they_are() -> None:
    """Results hang on them: if a library changes them, the operators' VERSION has to be bumped."""
    assert draws("42/0/w", 0, 4).tolist() == [4187287534, 3824161422, 2949177836, 3651020029]
    assert uniforms("42/0/w", 0, 2).tolist() == [0.8903819655475506, 0.8500693435051151]
