"""From a row per tensor to layers, module types and the whole model."""

from math import comb
from typing import Any

import numpy as np
import pandas as pd

from .change import THRESHOLDS
from .gram import sign_agreement, signal_and_noise
from .nulls import random_share_below


def is_embedding(frame: pd.DataFrame) -> pd.Series:
    """Which tensors the statistics without embeddings leave out; a row per tensor.

    These are position and token embeddings and the output head, since in models that tie them the
    token embedding is the head.
    """
    return frame["module"].str.contains("embedding") | (frame["module"] == "output head")


def groups(frame: pd.DataFrame, subsets: list[tuple[int, ...]]) -> list[dict[str, Any]]:
    """The statistics of each layer, module type and the whole model.

    Args:
        frame: a row per tensor: `module`, `layer`, `elements`, `gram` (N, N), `agreement` (N + 1,),
            `counted` and `below_E`, each in the order of `subsets`.
        subsets: shard numbers; single shards first, all of them last.

    Returns:
        A record per group: `scope` (``all``, ``without_embeddings``, ``layer``, ``module``,
        ``layer_module``), its `layer` and `module` (None: any; in ``layer_module`` a `layer` of
        None: outside the blocks), `num_elements`, the results of `gram.signal_and_noise`,
        `sign_agreement` (of `gram.sign_agreement`), and `one_shard` and `merged`, the first and
        last point of `curve`.
    """
    parts: list[tuple[str, Any, Any, pd.DataFrame]] = [("all", None, None, frame)]
    parts += [("without_embeddings", None, None, frame[~is_embedding(frame)])]
    parts += [("layer", layer, None, part) for layer, part in frame.groupby("layer")]
    parts += [("module", None, module, part) for module, part in frame.groupby("module")]
    both = frame.groupby(["layer", "module"], dropna=False)
    parts += [("layer_module", layer, module, part) for (layer, module), part in both]
    return [
        {"scope": scope, "layer": None if pd.isna(layer) else int(layer), "module": module}
        | _statistics(part, subsets)
        for scope, layer, module, part in parts
        if len(part)
    ]


def curve(frame: pd.DataFrame, subsets: list[tuple[int, ...]]) -> list[dict[str, Any]]:
    """The mean of k shards over k: its norm, its almost unchanged share, and that of noise.

    Args:
        frame: as in `groups`.
        subsets: as in `groups`.

    Returns:
        A record per k: `k`, `num_subsets` (measured), `num_possible`, and `mean`, `low` and `high`
        over the subsets of: `l2_norm` (||mean of the subset||, from the Gram matrix);
        `almost_unchanged_share` and `norm_matched_random_share` (`nulls.random_share_below`), by
        threshold; None where a subset has nothing but structural zeros.
    """
    # ||mean||^2 of a subset is w' G w, with w = 1 / k for its members: (subsets, tensors)
    n = len(subsets[-1])
    chosen = np.array([[i in subset for i in range(n)] for subset in subsets], dtype=np.float64)
    sizes = chosen.sum(axis=1).astype(int)
    weights = chosen / sizes[:, None]
    squares = np.einsum("si,tij,sj->st", weights, np.stack(list(frame["gram"])), weights)
    norms = np.sqrt(np.maximum(squares, 0.0))  # rounding may bring a square of 0 below it
    # what was counted in the means themselves, beside what noise of their norms would give
    counted = np.stack(list(frame["counted"]), axis=1)
    totals = counted.sum(axis=1)
    shares, random = {}, {}
    for t in THRESHOLDS:
        key = f"below_{t:g}"
        below = np.stack(list(frame[key]), axis=1).sum(axis=1)
        shares[key] = np.where(totals > 0, below / np.maximum(totals, 1), np.nan)
        noise = [random_share_below(t, *subset) for subset in zip(norms, counted, strict=True)]
        random[key] = np.array(noise, dtype=np.float64)
    return [
        {
            "k": k,
            "num_subsets": int((sizes == k).sum()),
            "num_possible": comb(n, k),
            "l2_norm": _spread(np.sqrt(squares.sum(axis=1).clip(0))[sizes == k]),
            "almost_unchanged_share": {key: _spread(x[sizes == k]) for key, x in shares.items()},
            "norm_matched_random_share": {key: _spread(x[sizes == k]) for key, x in random.items()},
        }
        for k in range(1, n + 1)
    ]


def _statistics(part: pd.DataFrame, subsets: list[tuple[int, ...]]) -> dict[str, Any]:
    points = curve(part, subsets)
    return {
        "num_elements": int(part["elements"].sum()),
        **signal_and_noise(sum(part["gram"])),
        "sign_agreement": sign_agreement(sum(part["agreement"])),
        "one_shard": points[0],
        "merged": points[-1],
    }


def _spread(values: np.ndarray) -> dict[str, float] | None:
    """Mean and range of a value over the subsets of one size; None if one has no value."""
    if np.isnan(values).any():
        return None
    return {"mean": float(values.mean()), "low": float(values.min()), "high": float(values.max())}
