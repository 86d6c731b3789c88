"""Directions between the activations of toxic and non-toxic texts, weighted by linear probes.

A layer's activation is a vector of width d. It is cut into H neighbouring chunks, where H is the
number of attention heads; behind the output projection these are not the heads themselves. A probe
of each chunk says how well it tells toxic from non-toxic texts.
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from ...storage.writing import write_tensors


def fit_logistic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Logistic regression with a penalty: the minimum of

        1/2 |w|^2 + sum_i log(1 + exp(-s_i (w x_i + b))),   s_i = +1 for class 1, -1 for class 0,

    which is scikit-learn's default (C = 1, the intercept unpenalised). It is convex, so any
    optimiser finds the same w; L-BFGS of scipy does.

    Args:
        x: (texts, width), fp64.
        y: (texts,), 0 or 1, both among them.

    Returns:
        w (width,) and b.
    """
    sign = 2.0 * y - 1.0

    def loss(w_and_b: np.ndarray) -> tuple[float, np.ndarray]:
        w, margins = w_and_b[:-1], sign * (x @ w_and_b[:-1] + w_and_b[-1])
        slope = -sign * expit(-margins)
        value = 0.5 * w @ w + np.logaddexp(0.0, -margins).sum()
        return value, np.append(w + x.T @ slope, slope.sum())

    start = np.zeros(x.shape[1] + 1)
    options = {"maxiter": 1000, "gtol": 1e-8, "ftol": 1e-15}
    minimum = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return minimum[:-1], float(minimum[-1])


def probe_accuracy(
    toxic: np.ndarray, nontoxic: np.ndarray, chunks: int, train_share: float
) -> np.ndarray:
    """How often the probe of a chunk is right on pairs that it was not fitted on.

    Args:
        toxic: (pairs, layers, d), fp64.
        nontoxic: likewise.
        chunks: H; where it does not divide d, the first chunks are one wider.
        train_share: the first round(train_share * pairs) pairs are for the fit, the rest for the
            test; there must be some of both.

    Returns:
        (layers, H) shares of the test texts, fp64. A text is called toxic where w x + b > 0.
    """
    split = round(train_share * len(toxic))
    accuracy = np.empty((toxic.shape[1], chunks))
    columns = np.array_split(np.arange(toxic.shape[2]), chunks)
    for layer in range(toxic.shape[1]):
        for k, chunk in enumerate(columns):
            t, n = toxic[:, layer, chunk], nontoxic[:, layer, chunk]
            y = np.repeat([1.0, 0.0], [split, split])
            w, b = fit_logistic(np.concatenate([t[:split], n[:split]]), y)
            right = [t[split:] @ w + b > 0, n[split:] @ w + b <= 0]
            accuracy[layer, k] = np.mean(np.concatenate(right))
    return accuracy


def directions(
    toxic: np.ndarray, nontoxic: np.ndarray, accuracy: np.ndarray, rule: str
) -> np.ndarray:
    """The vector of each layer; it points from toxic to non-toxic.

        released   v = -D*w / |D*w|,  D = sum_j (toxic_j - nontoxic_j),  w = 1 + accuracy
        paper      v = w*z,           z = mean_j (nontoxic_j - toxic_j), w = accuracy

    where every position takes the accuracy of its chunk. A difference of 0 gives a vector of 0.

    Args:
        toxic: (pairs, layers, d), fp64.
        nontoxic: likewise.
        accuracy: (layers, H) of `probe_accuracy`.
        rule: ``released`` or ``paper``.

    Returns:
        (layers, d), fp64.
    """
    chunks = np.array_split(np.arange(toxic.shape[2]), accuracy.shape[1])
    accuracy = np.repeat(accuracy, [len(chunk) for chunk in chunks], axis=1)
    if rule == "paper":
        return accuracy * (nontoxic - toxic).mean(axis=0)
    weighted = (1 + accuracy) * (nontoxic - toxic).sum(axis=0)
    norm = np.linalg.norm(weighted, axis=1, keepdims=True)
    return np.divide(weighted, norm, out=np.zeros_like(weighted), where=norm > 0)


def write_vectors(out: Path, vectors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Write `hooks.safetensors` from vectors (width,); returns the edit's `tensors`.

    The L2 norm is that of all vectors together.
    """
    names = sorted(vectors)
    with write_tensors(out, {name: vectors[name].shape for name in names}) as writer:
        for name in names:
            writer.write(vectors[name].astype(np.float32))
    norm = float(np.sqrt(sum(np.square(vectors[name]).sum() for name in names)))
    return {"file": out.name, "sha256": writer.sha256, "l2_norm": norm}
