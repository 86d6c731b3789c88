"""Fine-tuning on non-toxic texts: domain-adaptive pre-training (DAPT) on a civil domain.

Plain causal cross-entropy on a seeded sample of the data set's non-toxic texts, as many as it has
toxic ones, by the recipe that the shards are trained by; theta = theta_0 + scale * (theta' -
theta_0), scale 1 = the trained model. Gururangan et al. (ACL 2020, arXiv 2004.10964); as a
detoxification Gehman et al. (Findings of EMNLP 2020, arXiv 2009.11462) and Liu et al. (ACL 2021,
arXiv 2105.03023).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from ...plan.at import At
from ...plan.config import Config
from ...plan.recipes import WithRecipe, refuse_several_processes
from ...train.job import Job

KIND = "train"
VERB = "delta"
LABEL = "fine-tuning on non-toxic texts"
REFERENCE = "Gururangan et al., ACL 2020"
VERSION = 2
USES = ("dataset", "seed")
RECIPE = "recipe"


class Params(WithRecipe):
    rows: int | None = Field(
        None, ge=1, description="non-toxic texts; null: as many as the data set has toxic ones"
    )
    sample_seed: int = Field(42, ge=0, description="seed of the choice of texts")


def refusals(params: Params, config: Config) -> Iterator[str]:
    """A recipe with several processes, and more texts than a data set can have."""
    yield from refuse_several_processes(params, config)
    for alias in config.run.datasets:
        most = config.datasets[alias].most_rows
        if params.rows is not None and most is not None and params.rows > most:
            yield f"rows {params.rows} are more than the {most} of datasets.{alias}; lower them"


def inputs(params: Params, at: At) -> list[str]:
    """The base and the data set."""
    return [at.base(), at.data()]


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """Train on a sample of the non-toxic texts."""
    from ...train.texts import nontoxic_texts
    from ...train.trained_edit import trained_edit

    base, dataset = inputs
    return trained_edit(base, nontoxic_texts(dataset, params.rows, params.sample_seed), job)
