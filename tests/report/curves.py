"""Curves of edits as a study measures them, from the true ones."""

import numpy as np
import pandas as pd

from detoxmerge.measure.payloads import Scores, Windows
from detoxmerge.report.comparison import Curve

PROMPTS, WINDOWS, SAMPLES = 200, 60, 5


def measured(study: int, scales: np.ndarray, *edits: tuple[np.ndarray, np.ndarray]) -> list[Curve]:
    """Edits of given true toxicity and NLL, measured on the same prompts and windows.

    Prompts and windows differ in difficulty, in the same way for all edits. Each edit has its own
    sampling noise, except at the base, which they share.

    Args:
        study: seed.
        scales: (S,), ascending from 0.
        edits: toxicity and nats per token of each, (S,).
    """
    random = np.random.default_rng(study)
    hard = random.normal(0, 0.1, PROMPTS)
    text = random.normal(0, 0.3, WINDOWS)
    tokens = random.integers(50, 100, WINDOWS).astype(float)
    base = random.normal(0, 0.2, (PROMPTS, SAMPLES)), random.normal(0, 0.005, WINDOWS)
    curves = []
    for toxicity, nll in edits:
        score_noise = random.normal(0, 0.2, (len(scales), PROMPTS, SAMPLES))
        nll_noise = random.normal(0, 0.005, (len(scales), WINDOWS))
        score_noise[0], nll_noise[0] = base
        scores = toxicity[:, None, None] + hard[:, None] + score_noise
        per_window = (nll[:, None] + text + nll_noise) * tokens
        curves.append(curve(scales, scores, per_window, tokens))
    return curves


def curve(scales: np.ndarray, scores: np.ndarray, nll: np.ndarray, tokens: np.ndarray) -> Curve:
    """An edit of these scores, (S, P, K), and NLL, (S, W)."""
    prompt = np.repeat(np.arange(scores.shape[1]), scores.shape[2])
    return Curve(
        scales,
        [Scores(pd.DataFrame({"prompt": prompt, "toxicity": row.ravel()})) for row in scores],
        [Windows(pd.DataFrame({"nll": row, "tokens": tokens})) for row in nll],
    )
