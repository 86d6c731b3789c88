"""Random numbers by place: any part of the sequence is that part of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from detoxmerge.edit.randomness import normals, uniforms


@given(start=st.integers(0, 400), count=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_a_part_is_that_part_of_the_whole(start: int, count: int) -> None:
    whole = uniforms("a key", 0, start + count)
    np.testing.assert_array_equal(uniforms("a key", start, count), whole[start:])
    whole = normals("a key", 0, start + count)
    np.testing.assert_array_equal(normals("a key", start, count), whole[start:])


def test_far_places_cost_no_more_than_near_ones() -> None:
    assert uniforms("a key", 10**15 + 3, 2).shape == (2,)


@pytest.mark.parametrize(("draw", "law"), [(uniforms, "uniform"), (normals, "norm")])
def test_numbers_follow_their_law_and_keys_are_independent(draw: object, law: str) -> None:
    found = [draw(f"42/{i}/w", 0, 5000) for i in range(3)]
    assert min(kstest(one, law).pvalue for one in found) > 1e-3
    assert np.abs(np.corrcoef(found) - np.eye(3)).max() < 0.05
    assert np.isfinite(found).all()


def test_the_first_numbers_stay_what_they_are() -> None:
    """Results hang on them: if a library changes them, the operators' VERSION has to be bumped."""
    first = [0.6065048126407541, 0.10579081348899388, 0.7003400821525402]
    assert uniforms("42/0/w", 0, 3).tolist() == first
