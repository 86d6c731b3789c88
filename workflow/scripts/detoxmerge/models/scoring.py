"""Scores of texts by a scorer: a failed one is missing, never a number."""

from collections.abc import Callable

import numpy as np

from ..errors import UserError, out_of_memory
from .batch_size import RowLimit
from .scorers import LoadedScorer

Predict = Callable[[list[str]], list[float]]  # a score for each text


def score_texts(texts: list[str], predict: Predict, limit: RowLimit) -> np.ndarray:
    """Score texts in batches; where a batch fails, one by one.

    Args:
        limit: how many texts at a time, by their characters.

    Returns:
        fp64, one per text; NaN where there is no finite score.

    Raises:
        UserError: not one text could be scored.
    """
    scores = np.full(len(texts), np.nan)
    # texts of similar lengths share a batch, so little is padded
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    last: Exception | None = None
    for batch in limit.batches(order, [len(texts[i]) for i in order]):
        try:
            scores[batch] = limit.run(lambda part: predict([texts[i] for i in part]), batch)
        except Exception as error:  # one bad text must not take its whole batch with it
            if out_of_memory(error):  # no text is to blame
                raise
            last = error
            for i in batch:
                try:
                    scores[i] = predict([texts[i]])[0]
                except Exception as single:
                    print(f"text {i} could not be scored: {single!r}")
    scores[~np.isfinite(scores)] = np.nan
    if len(texts) and np.isnan(scores).all():
        raise UserError(f"none of {len(texts)} texts could be scored ({last!r}); mend the scorer")
    return scores


def predictor(scorer: LoadedScorer, label: str, name: str) -> Predict:
    """What `score_texts` calls: the scores of one label.

    Args:
        label: the output that is read.
        name: of the scorer, for the sentence.

    Raises:
        UserError: the scorer lacks the label.
    """
    if label not in scorer.class_names:
        raise UserError(
            f"the scorer {name} has no label '{label}'; it has {', '.join(scorer.class_names)}"
        )

    def predict(texts: list[str]) -> list[float]:
        scores = scorer.predict(texts)[label]
        return scores if isinstance(scores, list) else [scores]  # Detoxify: of one text a number

    return predict
