"""Sums of squares: the norms of vectors, and whether their values are finite."""

import math

import numpy as np

# a dot product of so many numbers is one thread's in every BLAS, and has one order of summation
DOT_ELEMENTS = 4096
SAFE_SQUARES = 1e-20  # beside such a sum, squares that are 0 in fp32 do not count


def sum_of_squares(values: np.ndarray) -> float:
    """Sum of squares in fp64, in one order whatever the number of threads.

    Args:
        values: contiguous, of floats.

    Returns:
        The sum; NaN or infinity if a value is.
    """
    return _summed(values.reshape(1, -1).astype(np.float64))[0]


def sums_of_squares(rows: np.ndarray) -> list[float]:
    """Sum of squares of each row.

    In fp32 over DOT_ELEMENTS at a time, which is 4 times as fast and off by 1e-6 at most, unless
    squares may have left the range of fp32.

    Args:
        rows: (N, elements), contiguous, fp32.

    Returns:
        N sums; NaN or infinity if a value of the row is.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = _summed(rows)
    for i, total in enumerate(found):
        if not SAFE_SQUARES < total < math.inf:
            found[i] = sum_of_squares(rows[i])
    return found


def all_below(limit: float, values: np.ndarray) -> bool:
    """Whether all magnitudes are smaller than a limit; one pass, if they are much smaller.

    Args:
        limit: infinity: whether all are finite.
        values: contiguous, fp32.

    Returns:
        Whether; not, if one is NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        (total,) = _summed(values.reshape(1, -1))
    if total < min(limit, 1e19) ** 2 / 2:  # and no square is larger than the sum of all
        return True
    return bool(max(values.max(initial=0), -values.min(initial=0)) < limit)


def _summed(rows: np.ndarray) -> list[float]:
    """Of each row; in its own precision over DOT_ELEMENTS at a time, then in fp64."""
    cut = rows.shape[1] - rows.shape[1] % DOT_ELEMENTS
    whole, rest = rows[:, :cut].reshape(len(rows), -1, DOT_ELEMENTS), rows[:, cut:]
    found = np.vecdot(whole, whole).sum(axis=1, dtype=np.float64)
    return (found + np.vecdot(rest, rest)).tolist()
