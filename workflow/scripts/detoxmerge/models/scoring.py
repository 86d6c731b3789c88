"""Scores of texts by a scorer: a failed one is missing, never a number."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import UserError

Predict = Callable[[list[str]], list[float]]


def score_texts(texts: list[str], predict: Predict, batch_size: int) -> np.ndarray:
    """Score texts in batches; where a batch fails, one by one.

    Args:
        texts: any number.
        predict: a list of texts -> as many scores.
        batch_size: texts at a time.

    Returns:
        fp64, one per text; NaN where there is no finite score.

    Raises:
        UserError: not one text could be scored.
    """
    scores = np.full(len(texts), np.nan)
    # similar lengths share a batch: little padding
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    last: Exception | None = None
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        try:
            scores[chosen] = predict([texts[i] for i in chosen])
        except Exception as error:  # counted below, and never turned into a number
            last = error
            for i in chosen:
                try:
                    scores[i] = predict([texts[i]])[0]
                except Exception as single:
                    print(f"text {i} could not be scored: {single!r}")
    scores[~np.isfinite(scores)] = np.nan
    if len(texts) and np.isnan(scores).all():
        raise UserError(f"none of {len(texts)} texts could be scored ({last!r}); mend the scorer")
    return scores


def predictor(detoxify: Any, label: str, name: str) -> Predict:
    """What `score_texts` calls.

    Args:
        detoxify: of `load_scorer`.
        label: the output that is read.
        name: of the scorer, for the sentence.

    Returns:
        A list of texts -> as many scores.

    Raises:
        UserError: the scorer lacks the label.
    """
    if label not in detoxify.class_names:
        raise UserError(
            f"the scorer {name} has no label '{label}'; it has {', '.join(detoxify.class_names)}"
        )

    def predict(texts: list[str]) -> list[float]:
        found = detoxify.predict(texts)[label]
        # one text gives a bare number
        return found if isinstance(found, list) else [found]

    return predict
