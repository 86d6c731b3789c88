"""The sorting network against every order that N values can have, and against numpy's sort."""

import itertools

import numpy as np
import pytest

from detoxmerge.merge.sorting_network import network, ranked


@pytest.mark.parametrize("n", range(1, 13))
def test_every_rank_of_every_order_is_found(n: int) -> None:
    """A network that sorts all zeros and ones sorts everything (Knuth 5.3.4, theorem Z)."""
    columns = np.array(list(itertools.product([0, 1], repeat=n)), np.float32).T
    wanted = np.sort(columns, axis=0)
    for first, last in {(0, n), ((n - 1) // 2, n // 2 + 1), (n // 5, n - n // 5), (n - 1, n)}:
        result = ranked(list(columns), range(first, last))
        np.testing.assert_array_equal(result, wanted[first:last])


@pytest.mark.parametrize("n", [2, 3, 5, 10, 17, 33])
def test_values_are_ranked_as_numpy_ranks_them(n: int) -> None:
    values = np.random.default_rng(n).standard_normal((n, 50, 2)).astype(np.float32)
    values[:, :20] = np.round(values[:, :20])  # ties
    values[:, 20:25] *= np.float32(1e38)
    arrays = list(values.copy())
    np.testing.assert_array_equal(ranked(arrays, range(n)), np.sort(values, axis=0))
    np.testing.assert_array_equal(arrays, values)  # they stay as they are


def test_what_no_wanted_rank_depends_on_is_left_out() -> None:
    def cost(n: int, ranks: range) -> int:
        return sum(low + high for *_, low, high in network(n, ranks))

    assert [cost(n, range(n)) // 2 for n in (2, 4, 5, 8, 10)] == [1, 5, 9, 19, 31]
    assert [cost(n, range(1)) for n in (2, 4, 8)] == [1, 3, 7]  # a minimum is n - 1 minima
    assert cost(5, range(2, 3)) == 12
