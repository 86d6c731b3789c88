"""Best-of-N: of N continuations of the base model for each one, the least toxic is kept.

A selection scorer chooses; of equal scores the first one wins, and a continuation without a score
is kept only where no candidate has one. The scale is log2 N: N = round(2 ** scale) continuations
are drawn for each, so 0 is the base itself, 1 is N = 2, and 5 is N = 32. The first of the N has the
random numbers of a plain sample.

What is sampled stays close to the base: KL(best-of-N || base) <= log N - (N - 1) / N nats for each
continuation (Beirami et al. 2024, arXiv 2401.01879). `forward` is the base's at every scale, so the
perplexity of a corpus does not see what is chosen: only the perplexity and the diversity of the
continuations do. The scorer must not be one of those that evaluate, or it would judge its own
choice.
"""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field

from ...models.sampling_request import candidates_at
from ...plan.at import At
from ...plan.config import Config
from ...plan.entries import Entry, alias_of, protocol
from ...train.job import Job

KIND = "fit"
VERB = "choose"
LABEL = "best of N samples"
REFERENCE = "Beirami et al., arXiv 2401.01879, 2024"
VERSION = 1
USES = ()
SCORER = "scorer"
MAX_SCALE = 20  # a million samples for each one that is kept
READ = ("label", "thresholds", "any_above")  # of a scorer's entry: how it is read, not what it is


class Params(Entry):
    scorer: str = Field(
        description="scorer of the catalogue that chooses; not one that evaluates",
        json_schema_extra=alias_of("scorers"),
    )


def refusals(params: Params, config: Config) -> Iterator[str]:
    """A scorer that also evaluates, and scales that do not tell one N from another."""
    chooser = config.scorers[params.scorer]
    by_stage = (stage.scorers for stage in config.run.stages.values())
    for alias in dict.fromkeys(chain.from_iterable(by_stage)):
        judge = config.scorers[alias]
        if alias == params.scorer:
            yield f"scorer '{alias}' evaluates in this study; name another one to choose by"
        elif protocol(chooser, without=READ) == protocol(judge, without=READ):
            yield (
                f"scorer '{params.scorer}' is the same network as '{alias}', which evaluates in "
                "this study; name another one to choose by"
            )
    scales = config.run.method_scales.get("best_of_n", config.run.scales)
    if max(scales) > MAX_SCALE:
        yield (
            f"the scale is log2 N, and {max(scales):g} is more than {MAX_SCALE}; set "
            "run.method_scales.best_of_n, for example to [1.0, 2.0, 3.0]"
        )
        return
    counts = [candidates_at(scale) for scale in sorted(scales)]
    if counts[0] == 1 or len(set(counts)) < len(counts):
        yield (
            f"the scale is log2 N, and these scales give N = {', '.join(map(str, counts))}, of "
            "which 1 is the base model; set run.method_scales.best_of_n, for example to "
            "[1.0, 2.0, 3.0]"
        )


def forwards(params: Params, scale: float) -> float:
    """One pass per candidate."""
    return float(candidates_at(scale))


def inputs(params: Params, at: At) -> list[str]:
    """The scorer that chooses."""
    return [at.scorer(params.scorer)]


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """No tensors: only where the scorer's manifest is, as seen from the edit's folder."""
    return {"scorer": os.path.relpath(inputs[0], job.out)}
