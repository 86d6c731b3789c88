"""How much N task vectors have in common: signal, noise, cosines and signs."""

from math import comb
from typing import Any

import numpy as np

ROUNDING = 1e-12  # relative; a noise energy below it is the rounding of fp64 sums


def cosines(gram: np.ndarray) -> np.ndarray:
    """Cosines between N vectors, (N, N), from their inner products; NaN where a vector is zero."""
    norms = np.sqrt(np.diag(gram))
    with np.errstate(invalid="ignore"):
        return gram / np.outer(norms, norms)


def signal_and_noise(gram: np.ndarray) -> dict[str, float | None]:
    """Signal and noise energy, if tau_i = signal + independent noise of mean zero.

    With m = mean_i ||tau_i||^2 the unbiased signal energy is S^2 = (N ||mean||^2 - m) / (N - 1):
    that is the mean inner product of two different vectors, in which the noise has expectation
    zero. The noise energy is m - S^2, the signal-to-noise ratio S^2 / (m - S^2).

    Args:
        gram: (N, N), <tau_i, tau_j>, fp64.

    Returns:
        `mean_squared_norm` (m), `mean_vector_l2_norm` (||mean||), `signal_energy` (S^2, which
        may be below 0: without any signal its sign is random), `noise_energy`, `snr` (with the
        sign of S^2), `mean_cosine` (over pairs). None where undefined: the last four for N = 1,
        `snr` without noise, `mean_cosine` with a zero vector.
    """
    n = len(gram)
    energy = float(np.trace(gram) / n)
    result: dict[str, float | None] = {"mean_squared_norm": energy}
    # rounding may bring a sum that is 0 below it
    result["mean_vector_l2_norm"] = float(np.sqrt(max(0.0, gram.sum()))) / n
    result |= dict.fromkeys(("signal_energy", "noise_energy", "snr", "mean_cosine"))
    if n == 1:
        return result
    pairs = ~np.eye(n, dtype=bool)
    signal = float(gram[pairs].mean())
    noise = energy - signal
    cosine = float(cosines(gram)[pairs].mean())
    return result | {
        "signal_energy": signal,
        "noise_energy": noise,
        "snr": signal / noise if noise > ROUNDING * energy else None,
        "mean_cosine": cosine if np.isfinite(cosine) else None,
    }


def sign_agreement(counts: np.ndarray) -> dict[str, Any]:
    """In how many of the N vectors an entry has the same sign, and what chance would give.

    By chance, with signs that are independent and equally likely, max(#positive, #negative) = j
    has probability 2 C(N, j) / 2^N, half of it at j = N / 2; full consensus has 2^(1 - N).

    Args:
        counts: (N + 1,); entries with max(#positive, #negative) = j, among those that are zero in
            no vector.

    Returns:
        `num_same_sign` (the possible j, from ceil(N / 2) to N), `counts`, `null_shares`,
        `full_consensus_share` (None without entries) and its `full_consensus_null_share`.
    """
    n = len(counts) - 1
    possible = range((n + 1) // 2, n + 1)
    null = [(1 if 2 * j == n else 2) * comb(n, j) / 2**n for j in possible]
    total = int(counts.sum())
    return {
        "num_same_sign": list(possible),
        "counts": [int(counts[j]) for j in possible],
        "null_shares": null,
        "full_consensus_share": float(counts[n] / total) if total else None,
        "full_consensus_null_share": null[-1],
    }
