"""Projects a toxic subspace out of the MLP's value weights: W <- W (I - P), P = sum_k v_k v_k^T.

Rows of H+ and H- are non-toxic and toxic texts at one layer, each the mean over positions of the
residual stream behind that layer's block: what its value vectors are added to. (The last block's
too, which transformers would give behind the final norm.) With u the first right-singular vector of
H+, which holds what all texts share, v_1, ..., v_rank are those of

    M = (H+ - H-)/2 (I - u u^T)

in fp64. One text at a time, so no pads enter the mean, as they do in the released code. The texts
of the data set are no pairs by content: they are paired at random. delta = W (I - P) - W, so scale
1 is the projection. The edited layers of the paper are 10..23 of 24 in GPT-2 medium (rank 2),
10..31 of 32 in OPT-6.7B and 15..31 of 32 in Mistral-7B (rank 10).
Uppaal et al., ICLR 2025, arXiv 2405.13967.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from ...plan.at import At
from ...plan.config import Config
from ...plan.entries import Entry
from ...train.job import Job

KIND = "fit"
VERB = "delta"
LABEL = "ProFS"
REFERENCE = "Uppaal et al., ICLR 2025"
VERSION = 1
USES = ("dataset",)


class Params(Entry):
    pairs: int = Field(500, ge=2, description="number of toxic and of non-toxic texts")
    rank: int = Field(2, ge=1, description="dimensions of the toxic subspace of a layer")
    from_share: float = Field(
        0.42, ge=0, lt=1, description="share of the layers, from below, that stay as they are"
    )
    to_share: float = Field(
        1.0, gt=0, le=1, description="share of the layers, from below, where the edit ends"
    )
    max_tokens: int = Field(128, ge=1, description="longer texts are cut, also at the context")
    pair_seed: int = Field(42, ge=0, description="seed of the choice of texts")

    @model_validator(mode="after")
    def _some_share(self) -> "Params":
        if self.from_share >= self.to_share:
            raise ValueError(f"from_share {self.from_share} is not below to_share {self.to_share}")
        if self.rank > self.pairs:
            raise ValueError(f"rank {self.rank} of {self.pairs} pairs; lower rank, or raise pairs")
        return self


def refusals(params: Params, config: Config) -> Iterator[str]:
    """More pairs than a data set can have, and models without such a layer or such a rank."""
    for alias in config.run.datasets:
        most = config.datasets[alias].most_rows
        if most is not None and 2 * params.pairs > most:
            yield (
                f"{params.pairs} pairs take {2 * params.pairs} texts, and datasets.{alias} has "
                f"{most} at most; lower pairs"
            )
    for alias in config.run.models:
        if (made := config.models[alias].pretrain) is None:
            continue
        if params.rank >= made.width:
            yield f"rank {params.rank} must be below the width {made.width} of models.{alias}"
        if round(params.from_share * made.layers) >= round(params.to_share * made.layers):
            yield (
                f"no layer of the {made.layers} of models.{alias} lies between from_share "
                f"{params.from_share:g} and to_share {params.to_share:g}; lower that, or "
                "raise this"
            )


def inputs(params: Params, at: At) -> list[str]:
    """The base and the data set."""
    return [at.base(), at.data()]


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """Write the difference of the projected weights, and which layers they are in (0-based)."""
    from ..steering.projection import fit

    return fit(inputs, params, job)
