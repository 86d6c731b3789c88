"""What the almost unchanged share would be if merging did nothing but shorten the vector.

Averaging alone shrinks a vector, and a shorter vector leaves more parameters almost unchanged. So
a merged vector is compared with the single one at the same norm, and with a random one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf


def random_share_below(
    threshold: float, l2_norms: ArrayLike, num_elements: ArrayLike
) -> float | None:
    """Almost unchanged share of a Gaussian vector with the same norm in each tensor.

    sum_t n_t erf(threshold / (sigma_t sqrt 2)) / sum_t n_t with sigma_t = ||v_t|| / sqrt(n_t): the
    expectation of the share of |x| < threshold for x ~ N(0, sigma_t^2), entry by entry.

    Args:
        threshold: on |delta|, which is strictly below it.
        l2_norms: ||v_t|| of each tensor.
        num_elements: n_t of each tensor, without structural zeros.

    Returns:
        A share, 0..1; None if there are no elements. A tensor of norm 0 is wholly unchanged.
    """
    norms, counts = np.asarray(l2_norms, np.float64), np.asarray(num_elements, np.float64)
    norms, counts = norms[counts > 0], counts[counts > 0]
    if not counts.size:
        return None
    with np.errstate(divide="ignore"):  # sigma 0: erf(inf) is 1
        shares = erf(threshold / (norms / np.sqrt(counts) * np.sqrt(2)))
    return float((counts * shares).sum() / counts.sum())


def unchanged_share_at(change: Mapping[str, Any], scale: float, threshold: float) -> float:
    """Almost unchanged share of an edit at a scale other than 1, from its histogram.

    |scale * delta| < threshold where |delta| < threshold / scale. The count below an edge of the
    histogram is exact; inside a bin it is interpolated linearly in log10 |delta|. So the result is
    wrong by at most the share of the one bin that holds threshold / scale, a hundredth of a decade.

    Args:
        change: content of `change.json`, or any mapping with its `num_elements`,
            `num_structural_zeros` and `histogram_log10`.
        scale: above 0; with ||merged|| / ||single|| it is the single vector at the merged one's
            norm.
        threshold: on |scale * delta|.

    Returns:
        The share among the elements that are not structural zeros, 0..1.

    Raises:
        ValueError: threshold / scale is not inside the histogram.
    """
    bins = change["histogram_log10"]
    edge = np.log10(threshold / scale)
    if not bins["low"] <= edge <= bins["high"]:
        raise ValueError(f"{threshold:g} at scale {scale:g} lies outside the histogram of |delta|")
    return float(share_below(change, edge))


def share_below(change: Mapping[str, Any], log10_delta: ArrayLike) -> np.ndarray:
    """The distribution function of log10 |delta|, interpolated inside the bins.

    Args:
        change: as in `unchanged_share_at`.
        log10_delta: any shape.

    Returns:
        Shares, 0..1, of the same shape; outside the histogram its first or last one.
    """
    bins = change["histogram_log10"]
    counted = change["num_elements"] - change["num_structural_zeros"]
    edges = np.linspace(bins["low"], bins["high"], bins["bins"] + 1)
    below = bins["num_below"] + np.concatenate([[0], np.cumsum(bins["counts"])])
    return np.interp(np.asarray(log10_delta), edges, below) / counted
