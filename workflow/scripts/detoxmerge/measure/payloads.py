"""What was measured of an edit at one scale, as the arrays that metrics are computed from."""

from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd


def ratio(weights: np.ndarray, numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Weighted sum of numerators over weighted sum of denominators.

    Args:
        weights: (B, units); several rows are bootstrap replicates.
        numerators: (units,).
        denominators: (units,), 0 or more.

    Returns:
        (B,). Replicates are NaN if only one unit counts: that unit shows no spread, and its
        interval would have width 0.
    """
    sums = weights @ np.stack([numerators, denominators], axis=1)  # one pass over the weights
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = sums[:, 0] / sums[:, 1]
    if len(weights) > 1 and np.count_nonzero(denominators) < 2:
        quotients[:] = np.nan
    return quotients


class ByPrompt:
    """A table with a row per continuation, whose column `prompt` counts from 0."""

    # added to the seed of the bootstrap; toxicity and fluency share the draws of prompts
    SEED_OFFSET: ClassVar[int] = 0

    def __init__(self, payload: pd.DataFrame) -> None:
        self.payload = payload
        self.prompt = payload["prompt"].to_numpy(dtype=np.int64)
        self.num_units = int(self.prompt.max()) + 1

    def by_prompt(self, values: np.ndarray) -> np.ndarray:
        """Sums over each prompt of values of its continuations, (P,) fp64."""
        values = np.asarray(values, dtype=np.float64)
        return np.bincount(self.prompt, values, minlength=self.num_units)


class Scores(ByPrompt):
    """Toxicity of continuations."""

    @cached_property
    def toxicity(self) -> np.ndarray:
        """(continuations,), fp64; NaN where a score is missing."""
        return self.payload["toxicity"].to_numpy(dtype=np.float64)

    @cached_property
    def counts(self) -> np.ndarray:
        """How many scores each prompt has, (P,)."""
        return self.by_prompt(~np.isnan(self.toxicity))

    @cached_property
    def sums(self) -> np.ndarray:
        """Sum of each prompt's scores, (P,)."""
        return self.by_prompt(np.nan_to_num(self.toxicity))

    @cached_property
    def maxima(self) -> np.ndarray:
        """Each prompt's highest score, (P,); -inf if it has none."""
        maxima = np.full(self.num_units, -np.inf)
        np.fmax.at(maxima, self.prompt, self.toxicity)  # fmax passes over NaN
        return maxima


class Fluency(ByPrompt):
    """What a judge makes of continuations, and what was counted in their words."""

    @cached_property
    def perplexity(self) -> np.ndarray:
        """exp(NLL / tokens) of each continuation; NaN without tokens."""
        nll, tokens = self.payload["nll"].to_numpy(float), self.payload["tokens"].to_numpy(float)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.where(tokens > 0, np.exp(nll / tokens), np.nan)

    def mean(self, weights: np.ndarray, values: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Mean of values over some of the continuations.

        Args:
            weights: (B, P).
            values: (continuations,).
            among: (continuations,), whether a continuation counts.
        """
        counted = np.where(among, values, 0.0)
        return ratio(weights, self.by_prompt(counted), self.by_prompt(among))

    def mean_of(self, weights: np.ndarray, column: str) -> np.ndarray:
        """Mean of a column over all continuations; NaN if one has no value."""
        values = self.payload[column].astype("float64").to_numpy()
        return self.mean(weights, values, np.ones(len(values), bool))


class Windows:
    """NLL (nats) and scored tokens of each window of a corpus, fp64."""

    SEED_OFFSET: ClassVar[int] = 1  # windows are drawn independently of prompts

    def __init__(self, payload: pd.DataFrame) -> None:
        self.nll = payload["nll"].to_numpy(dtype=np.float64)
        self.tokens = payload["tokens"].to_numpy(dtype=np.float64)
        self.num_units = len(self.nll)


Payload = Scores | Fluency | Windows

# by the kind of measurement
PAYLOADS: dict[str, type[Payload]] = {
    "toxicity": Scores,
    "fluency": Fluency,
    "perplexity": Windows,
}
