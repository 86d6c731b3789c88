"""Signal and noise, and what chance gives for the agreement of signs."""

import numpy as np
import pytest

from detoxmerge.measure.gram import sign_agreement, signal_and_noise


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10])
def test_chance_of_an_agreement_is_that_of_coin_flips(n: int) -> None:
    numbers = sign_agreement(np.zeros(n + 1, dtype=np.int64))
    flips = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    positive = flips.sum(axis=1)
    exact = np.bincount(np.maximum(positive, n - positive), minlength=n + 1) / 2**n
    assert numbers["null_shares"] == exact[numbers["num_same_sign"]].tolist()
    assert sum(numbers["null_shares"]) == 1
    assert numbers["full_consensus_null_share"] == 2.0 ** (1 - n)
    assert numbers["full_consensus_share"] is None


def test_signal_is_the_mean_inner_product_of_pairs() -> None:
    vectors = np.random.default_rng(0).standard_normal((4, 9))
    numbers = signal_and_noise(vectors @ vectors.T)
    pairs = [vectors[i] @ vectors[j] for i in range(4) for j in range(i)]
    assert numbers["signal_energy"] == pytest.approx(np.mean(pairs))
    energy, mean = (vectors**2).sum() / 4, vectors.mean(axis=0)
    assert numbers["signal_energy"] == pytest.approx((4 * mean @ mean - energy) / 3)
    assert numbers["mean_vector_l2_norm"] == pytest.approx(np.linalg.norm(mean))
