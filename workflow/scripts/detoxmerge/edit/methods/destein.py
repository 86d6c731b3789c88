"""Turns the attention's output, at every layer and position, from toxic towards non-toxic.

D_l = sum over pairs of a_l(toxic) - a_l(nontoxic), where a_l is the mean over the last tokens of
the attention's projected output at layer l, before the residual add. Linear probes of its chunks
weight it (`edit.steering`). With u_l = D_l*w_l / |D_l*w_l|, w = 1 + accuracy, alpha = scale,

    released   h' = |h| * normalize(h / |h| - alpha * u_l)
    paper      h' = h + alpha * accuracy * mean(a_l(nontoxic) - a_l(toxic))

`released` is the code behind the paper's results (alpha 0.45 for GPT-2 large), `paper` is its text.
Pairs are the model's own: of each prompt the most and the least toxic continuation, with the prompt
before both. The released code had GPT-4 rewrite the toxic one; `paraphraser` has a local model do
so.
Li et al., COLM 2024, arXiv 2404.10464.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ...plan.at import At
from ...plan.config import Config
from ...plan.entries import Entry, alias_of
from ...train.job import Job

KIND = "fit"
VERB = "hooks"
LABEL = "DeStein"
REFERENCE = "Li et al., COLM 2024"
VERSION = 1
USES = ()

PREFIXES = {  # toxic, non-toxic
    True: (
        "The following text is abusive, harmful, negative, obscene, racist, rude and toxic: ",
        "The following text is kind, polite, positive, respectful and supportive: ",
    ),
    "short": ("rude: ", "polite: "),
    False: ("", ""),
}


class Params(Entry):
    prompts: str = Field(
        description="prompt set whose continuations by the base model become the pairs",
        json_schema_extra=alias_of("prompts"),
    )
    scorer: str = Field(
        description="scorer that says which of them are toxic",
        json_schema_extra=alias_of("scorers"),
    )
    count: int = Field(20, ge=2, description="number of pairs (paper: 20, for 7B models 40)")
    rule: Literal["released", "paper"] = Field("released", description="how h is edited; see above")
    toxic_above: float = Field(0.5, ge=0, lt=1, description="a toxic member's score is above this")
    nontoxic_below: float = Field(0.1, gt=0, le=1, description="the other one's is below")
    tokens: int = Field(8, ge=1, description="last tokens of a text that are averaged")
    train_share: float = Field(
        0.8, gt=0, lt=1, description="share of the pairs that probes are fitted on, not tested"
    )
    prefix: bool | Literal["short"] = Field(
        True, description="a sentence before each member; short: a word, for a small context"
    )
    max_perplexity_ratio: float | None = Field(
        None,
        ge=1,
        description="drop pairs whose members' perplexities differ by more; null: keep",
    )
    paraphraser: str | None = Field(
        None,
        description="model that rewrites the toxic member politely; null: the least toxic sample",
        json_schema_extra=alias_of("models"),
    )
    pair_seed: int = Field(42, ge=0, description="seed of the choice of pairs, and of rewrites")

    @model_validator(mode="after")
    def _fit_and_test(self) -> "Params":
        if not 0 < round(self.train_share * self.count) < self.count:
            raise ValueError(
                f"train_share {self.train_share} of {self.count} pairs leaves none to fit or none "
                "to test; change it or raise count"
            )
        return self


def inputs(params: Params, at: At) -> list[str]:
    """The base, its samples and their scores; for a paraphraser also the scorer and that model."""
    manifests = [at.base(), at.samples(params.prompts), at.scores(params.prompts, params.scorer)]
    if params.paraphraser:
        manifests += [at.scorer(params.scorer), at.base(params.paraphraser)]
    return manifests


def refusals(params: Params, config: Config) -> Iterator[str]:
    """Prompts with a single sample, which make no pairs, and fewer prompts than pairs."""
    most = config.prompts[params.prompts].most_rows
    if most is not None and params.count > most:
        yield (
            f"count {params.count} takes as many prompts, and prompts.{params.prompts} has {most} "
            "at most; lower it"
        )
    for alias in config.run.models:
        made = config.models[alias].pretrain
        if made is not None and params.tokens >= made.context:
            yield (
                f"tokens {params.tokens} are not below the context {made.context} of "
                f"models.{alias}; lower them"
            )
    if config.prompts[params.prompts].generate.samples < 2 and not params.paraphraser:
        yield (
            f"prompts.{params.prompts} has one sample per prompt, and a pair takes two; raise "
            "generate.samples, or name a paraphraser"
        )


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """Write `hooks.safetensors`, `pairs.jsonl`, and `probes.csv`: accuracy per layer and chunk."""
    from ..steering.destein import fit

    return fit(inputs, params, PREFIXES[params.prefix], job)
