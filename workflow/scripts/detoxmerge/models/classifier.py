"""A Detoxify that tokenises apart from scoring: once, and before texts are put into batches."""

from typing import Any

import numpy as np
import torch

from .scorers import Encoded


class Classifier:
    """A `detoxify.Detoxify` as a `TokenScorer`; scores are those of its own `predict`.

    Attributes:
        detoxify: what is around the model and the tokenizer.
        class_names: the labels that it gives scores for.
        model: a torch module, a logit per label.
        tokenizer: of transformers; texts are cut at its `model_max_length`.
    """

    def __init__(self, detoxify: Any) -> None:
        """Take over what a Detoxify has loaded."""
        self.detoxify = detoxify
        self.class_names: list[str] = detoxify.class_names
        self.model: Any = detoxify.model
        self.tokenizer: Any = detoxify.tokenizer

    def predict(self, texts: list[str]) -> dict[str, list[float]]:
        """Detoxify's own, all texts as one batch."""
        return self.detoxify.predict(texts)

    def encode(self, texts: list[str]) -> list[Encoded]:
        """Tokenise; `length` is in tokens, special ones among them."""
        fields = self.tokenizer(texts, truncation=True)
        # there can be millions: arrays take less memory than lists of numbers
        rows = ({k: np.array(v[i], np.int32) for k, v in fields.items()} for i in range(len(texts)))
        return [Encoded(len(row["input_ids"]), row) for row in rows]

    @torch.no_grad()
    def predict_encoded(self, rows: list[dict[str, np.ndarray]]) -> dict[str, list[float]]:
        """The scores of one batch, padded to its longest row."""
        self.model.eval()
        lists = {key: [row[key].tolist() for row in rows] for key in rows[0]}
        batch = self.tokenizer.pad(lists, return_tensors="pt").to(self.model.device)
        scores = torch.sigmoid(self.model(**batch)[0]).cpu()
        return dict(zip(self.class_names, scores.T.tolist(), strict=True))
