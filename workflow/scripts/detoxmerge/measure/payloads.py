"""What lies beside the records of measurements, as arrays that metrics are computed from."""

from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd


def ratio(weights: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Weighted sum of `above` over weighted sum of `below`, one value per unit each.

    Args:
        weights: (B, units).
        above: (units,).
        below: (units,), 0 or more.

    Returns:
        (B,). Replicates of a single unit that counts are NaN: it says nothing of the spread, and
        would give an interval of width 0.
    """
    sums = weights @ np.stack([above, below], axis=1)  # one pass over the weights
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = sums[:, 0] / sums[:, 1]
    if len(weights) > 1 and np.count_nonzero(below) < 2:
        quotients[:] = np.nan
    return quotients


class ByPrompt:
    """Values of continuations: a payload with a column `prompt`, 0-based."""

    STREAM: ClassVar[int] = 0  # prompts are drawn alike for all that is measured by prompt

    def __init__(self, payload: pd.DataFrame) -> None:
        self.payload = payload
        self.prompt = payload["prompt"].to_numpy(dtype=np.int64)
        self.num_units = int(self.prompt.max()) + 1

    def by_prompt(self, values: np.ndarray) -> np.ndarray:
        """Sum of one value per continuation over each prompt, (P,) fp64."""
        values = np.asarray(values, dtype=np.float64)
        return np.bincount(self.prompt, values, minlength=self.num_units)


class Scores(ByPrompt):
    """Toxicity of continuations; NaN where a score is missing."""

    @cached_property
    def toxicity(self) -> np.ndarray:
        """(continuations,), fp64."""
        return self.payload["toxicity"].to_numpy(dtype=np.float64)

    @cached_property
    def counts(self) -> np.ndarray:
        """How many scores a prompt has, (P,)."""
        return self.by_prompt(~np.isnan(self.toxicity))

    @cached_property
    def sums(self) -> np.ndarray:
        """Sum of a prompt's scores, (P,)."""
        return self.by_prompt(np.nan_to_num(self.toxicity))

    @cached_property
    def maxima(self) -> np.ndarray:
        """A prompt's highest score, (P,); -inf without any."""
        maxima = np.full(self.num_units, -np.inf)
        np.fmax.at(maxima, self.prompt, self.toxicity)
        return maxima


class Fluency(ByPrompt):
    """What a judge says of continuations, and what their words are; columns of the payload."""

    @cached_property
    def perplexity(self) -> np.ndarray:
        """exp(NLL / tokens) of each continuation; NaN without tokens."""
        nll, tokens = self.payload["nll"].to_numpy(float), self.payload["tokens"].to_numpy(float)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.where(tokens > 0, np.exp(nll / tokens), np.nan)

    def mean(self, weights: np.ndarray, values: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Mean over the continuations that count."""
        chosen = np.where(among, values, 0.0)
        return ratio(weights, self.by_prompt(chosen), self.by_prompt(among))

    def mean_of(self, weights: np.ndarray, column: str) -> np.ndarray:
        """Mean of a column over all continuations; NaN if one has no value."""
        values = self.payload[column].astype("float64").to_numpy()
        return self.mean(weights, values, np.ones(len(values), bool))


class Windows:
    """NLL (nats) and scored tokens of the windows of a corpus."""

    STREAM: ClassVar[int] = 1

    def __init__(self, payload: pd.DataFrame) -> None:
        self.nll = payload["nll"].to_numpy(dtype=np.float64)
        self.tokens = payload["tokens"].to_numpy(dtype=np.float64)
        self.num_units = len(self.nll)


MEASURED: dict[str, type[Scores] | type[Fluency] | type[Windows]] = {
    "toxicity": Scores,
    "fluency": Fluency,
    "perplexity": Windows,
}
