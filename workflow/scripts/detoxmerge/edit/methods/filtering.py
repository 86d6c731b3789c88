"""Filtering: fine-tuning on the texts that a score lets pass.

mode self_generated_median: the base model's own samples, prompt and continuation as one text, whose
toxicity is at or below the median of their prompt's; mode corpus_threshold: the texts of the data
set, toxic and non-toxic ones, whose own score is at or below `threshold`. Plain causal
cross-entropy on the whole text; theta = theta_0 + scale * (theta' - theta_0), scale 1 = the trained
model. The baseline "Filtering" of Meng et al. (Findings of EMNLP 2024, arXiv 2410.05559): its
released code has the first mode, its paper may mean the second. With samples close to SGEAT, which
keeps the less toxic half (Wang et al., NeurIPS 2022, arXiv 2202.04173).
"""

# threshold 0.5 is where Civil Comments, whose score is the share of raters, calls a text toxic
# (Borkan et al., WWW 2019)
# USES belongs to a method, not to a setting: in a study of several data sets the first mode, which
# reads none, is trained once for each, with equal results

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ...plan.at import At
from ...plan.entries import Entry, alias_of
from ...plan.recipes import RecipeName, refuse_several_processes
from ...train.job import Job

KIND = "train"
VERB = "delta"
LABEL = "fine-tuning on filtered texts"
REFERENCE = "Meng et al., Findings of EMNLP 2024"
VERSION = 2
USES = ("dataset", "seed")
RECIPE = "recipe"

refusals = refuse_several_processes


class Params(Entry):
    mode: Literal["self_generated_median", "corpus_threshold"] = Field(
        description="the base's own samples up to their prompt's median, or the data set's texts"
    )
    recipe: RecipeName = "default"
    prompts: str | None = Field(
        None,
        description="self_generated_median: prompt set that the base model continued",
        json_schema_extra=alias_of("prompts"),
    )
    scorer: str | None = Field(
        None,
        description="self_generated_median: scorer of the catalogue that judges the samples",
        json_schema_extra=alias_of("scorers"),
    )
    threshold: float = Field(
        0.5, ge=0, le=1, description="corpus_threshold: highest score of a text that is kept"
    )

    @model_validator(mode="after")
    def _fits_mode(self) -> "Params":
        samples = self.mode == "self_generated_median"
        for name in ("prompts", "scorer"):
            if samples and getattr(self, name) is None:
                raise ValueError(f"mode {self.mode} needs `{name}`")
        for name in ("threshold",) if samples else ("prompts", "scorer"):
            if name in self.model_fields_set and getattr(self, name) is not None:
                raise ValueError(f"mode {self.mode} has no `{name}`; leave it out")
        return self


def inputs(params: Params, at: At) -> list[str]:
    """The base, and the texts with their scores."""
    if params.prompts is None or params.scorer is None:  # of mode corpus_threshold
        return [at.base(), at.data()]
    return [at.base(), at.samples(params.prompts), at.scores(params.prompts, params.scorer)]


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """Train; `selection` counts the texts before and after the filter."""
    from ...train.texts import samples_up_to_median, texts_up_to
    from ...train.trained_edit import trained_edit

    if params.mode == "corpus_threshold":
        base, data = inputs
        texts, counts = texts_up_to(data, params.threshold)
    else:
        base, samples, scores = inputs
        texts, counts = samples_up_to_median(samples, scores)
    return trained_edit(base, texts, job) | {"selection": counts}
