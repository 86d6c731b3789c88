"""Contrast the base's next-token logits with those of a toxic fine-tune, while decoding.

z = z_base + scale * (z_expert - z_anti): the anti-expert is the fine-tune on all toxic texts (the
workflow's N = 1), the expert the one on non-toxic texts, or the base itself ("anti-only"). When
sampling, only tokens of the base's nucleus can be drawn, as in the released code; a corpus's
perplexity is of the whole distribution, as under a nucleus most texts have none. Liu et al.,
DExperts, ACL 2021 (arXiv 2105.03023); the paper's scale (alpha) is 2.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...plan.at import At
from ...plan.entries import Entry, alias_of
from ...plan.recipes import RecipeName
from ...train.job import Job

KIND = "fit"
VERB = "logits"
LABEL = "DExperts"
REFERENCE = "Liu et al., ACL 2021"
VERSION = 1
USES = ("dataset", "seed")
RECIPE = "recipe"


class Params(Entry):
    expert: Literal["base", "nontoxic"] = Field(
        "base",
        description="`nontoxic`: the edit `finetune_nontoxic`; `base`: the base (anti-expert only)",
    )
    recipe: RecipeName = "default"
    base_top_p: float = Field(
        0.9, gt=0, le=1, description="nucleus of the base that sampling keeps to; 1: none"
    )
    model: str | None = Field(
        None,
        description="base model of the experts, e.g. a smaller one of the same tokenizer; null: "
        "the model itself",
        json_schema_extra=alias_of("models"),
    )


def inputs(params: Params, at: At) -> list[str]:
    """The anti-expert, the expert if it is a fine-tune, and the two bases if there are two."""
    tunes = [at.shard(params.recipe, 1, 0, model=params.model)]
    if params.expert == "nontoxic":
        tunes.append(at.edit("finetune_nontoxic", {"recipe": params.recipe}, model=params.model))
    return tunes + ([at.base(), at.base(params.model)] if params.model else [])


def forwards(params: Params, scale: float) -> float:
    """The base and its helpers."""
    return 2.0 + (params.expert == "nontoxic")


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """No tensors: only which models are combined, and how."""
    from ..verbs.logits.describe import fine_tuned, require_same_tokens

    tunes, experts_base = inputs, None
    if params.model:
        *tunes, base, experts_base = inputs
        require_same_tokens(base, experts_base)
    names = ("anti", "expert")[: len(tunes)]
    helpers = {
        name: fine_tuned(path, job.out, experts_base)
        for name, path in zip(names, tunes, strict=True)
    }
    return {
        "rule": "contrast",
        "settings": {},
        "helpers": helpers,
        "base_top_p": params.base_top_p,
    }
