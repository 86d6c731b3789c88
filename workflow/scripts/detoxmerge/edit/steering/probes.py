"""Directions between the activations of toxic and non-toxic texts, weighed by linear probes.

A layer's activation is a vector of width d. It is cut into H neighbouring chunks, H being the
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

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        w, margins = at[:-1], sign * (x @ at[:-1] + at[-1])
        slope = -sign * expit(-margins)
        value = 0.5 * w @ w + np.logaddexp(0.0, -margins).sum()
        return value, np.append(w + x.T @ slope, slope.sum())

    start = np.zeros(x.shape[1] + 1)
    options = {"maxiter": 1000, "gtol": 1e-8, "ftol": 1e-15}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return found[:-1], float(found[-1])


def probe_accuracy(
    toxic: np.ndarray, nontoxic: np.ndarray, chunks: int, train_share: float
) -> np.ndarray:
    """How often a probe of each chunk is right on pairs that it was not fitted on.

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
    found = np.empty((toxic.shape[1], chunks))
    bounds = np.array_split(np.arange(toxic.shape[2]), chunks)
    for layer in range(toxic.shape[1]):
        for k, own in enumerate(bounds):
            t, n = toxic[:, layer, own], nontoxic[:, layer, own]
            y = np.repeat([1.0, 0.0], [split, split])
            w, b = fit_logistic(np.concatenate([t[:split], n[:split]]), y)
            right = [t[split:] @ w + b > 0, n[split:] @ w + b <= 0]
            found[layer, k] = np.mean(np.concatenate(right))
    return found


def directions(
    toxic: np.ndarray, nontoxic: np.ndarray, accuracy: np.ndarray, rule: str
) -> np.ndarray:
    """The vector of each layer; it points from toxic to non-toxic.

        released   v = -D*w / |D*w|,  D = sum_j (toxic_j - nontoxic_j),  w = 1 + accuracy
        paper      v = w*z,           z = mean_j (nontoxic_j - toxic_j), w = accuracy

    each position of a chunk with its chunk's accuracy. A difference of 0 gives a vector of 0.

    Args:
        toxic: (pairs, layers, d), fp64.
        nontoxic: likewise.
        accuracy: (layers, H) of `probe_accuracy`.
        rule: ``released`` or ``paper``.

    Returns:
        (layers, d), fp64.
    """
    sizes = [len(own) for own in np.array_split(np.arange(toxic.shape[2]), accuracy.shape[1])]
    accuracy = np.repeat(accuracy, sizes, axis=1)
    if rule == "paper":
        return accuracy * (nontoxic - toxic).mean(axis=0)
    weighed = (1 + accuracy) * (nontoxic - toxic).sum(axis=0)
    norm = np.linalg.norm(weighed, axis=1, keepdims=True)
    return np.divide(weighed, norm, out=np.zeros_like(weighed), where=norm > 0)


def write_vectors(out: Path, vectors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Write `hooks.safetensors`.

    Args:
        out: the file.
        vectors: name -> (width,).

    Returns:
        `tensors` of the edit: file, sha256, and the L2 norm of all vectors together.
    """
    names = sorted(vectors)
    with write_tensors(out, {name: vectors[name].shape for name in names}) as writer:
        for name in names:
            writer.write(vectors[name].astype(np.float32))
    norm = float(np.sqrt(sum(np.square(vectors[name]).sum() for name in names)))
    return {"file": out.name, "sha256": writer.sha256, "l2_norm": norm}
