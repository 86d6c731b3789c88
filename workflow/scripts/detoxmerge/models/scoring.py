"""Scores of texts by a scorer: a failed one is missing, never a number."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import UserError, out_of_memory
from .batch_size import RowLimit
from .scorers import Encoded, LoadedScorer, TokenScorer

Predict = Callable[[list[Any]], list[float]]  # a score for each text, as `encode` gave it


def score_texts(texts: list[str], predict: Predict, limit: RowLimit) -> np.ndarray:
    """Score texts in batches; where a batch fails, one by one.

    Equal texts are scored once. The batches depend on nothing but the arguments.

    Args:
        predict: what `predictor` gave, or a function of texts, which are then sorted by characters.
        limit: how many texts at a time, by their tokens or characters.

    Returns:
        fp64, one per text; NaN where there is no finite score.

    Raises:
        UserError: not one text could be scored.
    """
    first: dict[str, int] = {}
    for i, text in enumerate(texts):
        first.setdefault(text, i)
    encoded, last = _encode(first, predict)
    scores = np.full(len(texts), np.nan)
    # texts of similar lengths share a batch, so little is padded
    order = sorted(encoded, key=lambda i: (encoded[i].length, i))

    def scored(part: list[int]) -> list[float]:
        return predict([encoded[i].content for i in part])

    for batch in limit.batches(order, [encoded[i].length for i in order]):
        try:
            scores[batch] = limit.run(scored, batch)
        except Exception as error:  # one bad text must not take its whole batch with it
            if out_of_memory(error):  # no text is to blame
                raise
            last = error
            for i in batch:
                try:
                    scores[i] = predict([encoded[i].content])[0]
                except Exception as single:
                    print(f"text {i} could not be scored: {single!r}")
    scores = scores[[first[text] for text in texts]]
    scores[~np.isfinite(scores)] = np.nan
    if len(texts) and np.isnan(scores).all():
        raise UserError(f"none of {len(texts)} texts could be scored ({last!r}); mend the scorer")
    return scores


def _encode(
    first: Mapping[str, int], predict: Predict
) -> tuple[dict[int, Encoded], Exception | None]:
    """Each text that can be encoded, by its place; and why another one cannot."""
    encode = predict.encode if isinstance(predict, _ByTokens) else _by_characters
    try:
        return dict(zip(first.values(), encode(list(first)), strict=True)), None
    except Exception as error:  # one bad text must not take all with it
        found, last = {}, error
    for text, i in first.items():
        try:
            (found[i],) = encode([text])
        except Exception as single:
            print(f"text {i} could not be scored: {single!r}")
    return found, last


def _by_characters(texts: list[str]) -> list[Encoded]:
    return [Encoded(len(text), text) for text in texts]


class _ByTokens:
    """The scores of one label of a scorer that tokenises apart."""

    def __init__(self, scorer: TokenScorer, label: str) -> None:
        self.encode, self._scorer, self._label = scorer.encode, scorer, label

    def __call__(self, rows: list[Any]) -> list[float]:
        return self._scorer.predict_encoded(rows)[self._label]


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

    if isinstance(scorer, TokenScorer):
        return _ByTokens(scorer, label)

    def predict(texts: list[str]) -> list[float]:
        scores = scorer.predict(texts)[label]
        return scores if isinstance(scores, list) else [scores]  # Detoxify: of one text a number

    return predict
