"""The nulls of the almost unchanged share: from a histogram, and of a Gaussian vector."""

import numpy as np
import pytest
from scipy.stats import norm

from detoxmerge.measure.change import FROM_ZERO, log_histogram
from detoxmerge.measure.nulls import random_share_below, unchanged_share_at


def change(size: np.ndarray, structural: int = 0) -> dict:
    """The part of a change.json that is read."""
    return {
        "num_elements": size.size + structural,
        "num_structural_zeros": structural,
        "histogram_log10": log_histogram(np.histogram(size, FROM_ZERO)[0]),
    }


@pytest.mark.parametrize("scale", [0.05, 0.447, 1.0, 1.7, 20.0])
@pytest.mark.parametrize("threshold", [1e-6, 2e-5, 1e-4])
def test_share_at_a_scale_is_wrong_by_its_bin_at_most(scale: float, threshold: float) -> None:
    rng = np.random.default_rng(0)
    size = np.abs(2e-5 * rng.standard_normal(100_000))
    size[:1000] = 0
    interpolated = unchanged_share_at(change(size, structural=500), scale, threshold)
    edge = threshold / scale
    bin_of = np.searchsorted(FROM_ZERO, edge)
    share_of_bin = ((size >= FROM_ZERO[bin_of - 1]) & (size < FROM_ZERO[bin_of])).mean()
    assert abs(interpolated - (scale * size < threshold).mean()) <= share_of_bin
    assert share_of_bin < 0.012


def test_share_at_an_edge_is_exact_and_counts_what_lies_outside() -> None:
    size = np.array([0.0, 1e-15, 3e-7, 3e-5, 1e3])
    assert unchanged_share_at(change(size), 1.0, 1e-6) == pytest.approx(3 / 5)
    assert unchanged_share_at(change(size), 10.0, 1e-6) == pytest.approx(2 / 5)
    assert unchanged_share_at(change(size), 1e-8, 1e-6) == pytest.approx(4 / 5)


def test_scale_beyond_the_histogram_is_refused() -> None:
    with pytest.raises(ValueError, match="1e-06 at scale 1e\\+07 lies outside"):
        unchanged_share_at(change(np.ones(3)), 1e7, 1e-6)


def test_random_share_is_that_of_gaussians_with_the_norm_of_each_tensor() -> None:
    norms, counts = np.array([3e-3, 2e-2, 0.0, 0.0]), np.array([40_000, 10_000, 10_000, 0])
    sigma = norms[:2] / np.sqrt(counts[:2])
    shares = [*(2 * norm.cdf(2e-5 / sigma) - 1), 1.0]
    null_share = random_share_below(2e-5, norms, counts)
    assert null_share == pytest.approx(np.average(shares, weights=counts[:3]))
    rng = np.random.default_rng(0)
    drawn = np.concatenate(
        [s * rng.standard_normal(c) for s, c in zip(sigma, counts, strict=False)]
    )
    share = ((np.abs(drawn) < 2e-5).sum() + 10_000) / 60_000
    assert null_share == pytest.approx(share, abs=0.01)


def test_random_share_of_nothing_is_none() -> None:
    assert random_share_below(1e-5, [0.0], [0]) is None
