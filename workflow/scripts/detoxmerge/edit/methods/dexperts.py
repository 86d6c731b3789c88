"""Contrast the base's next-token logits with those of a toxic fine-tune, while decoding.

z = z_base + scale * (z_expert - z_anti): the anti-expert is the fine-tune on all toxic texts (the
workflow's N = 1), the expert the one on non-toxic texts, or the base itself ("anti-only"). When
sampling, only tokens of the base's nucleus come into question, as in the released code; a corpus's
perplexity is of the whole distribution, as under a nucleus most texts have none. Liu et al.,
DExperts, ACL 2021 (arXiv 2105.03023); the paper's scale (alpha) is 2.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...plan.entries import Entry, alias_of
from ...plan.recipes import RecipeName

KIND = "fit"
VERB = "logits"
LABEL = "DExperts"
REFERENCE = "Liu et al., ACL 2021"
VERSION = 1
USES = ("dataset", "seed")
RECIPE = "recipe"


class Params(Entry):
    """What the config entry may say."""

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
        description="base model of the experts, e.g. a smaller one of the same tokenizer; none: "
        "the model itself",
        json_schema_extra=alias_of("models"),
    )


def inputs(params: Params, at: Any) -> list[str]:
    """The manifests of the experts, and of the two base models if there are two.

    Args:
        params: this method's parameters.
        at: where the edit stands (`plan.at.At`).

    Returns:
        Paths: the anti-expert; the expert, if it is a fine-tune; the base and the experts' base, if
        that is another model.
    """
    found = [at.shard(params.recipe, 1, 0, model=params.model)]
    if params.expert == "nontoxic":
        found.append(at.edit("finetune_nontoxic", {"recipe": params.recipe}, model=params.model))
    return found + ([at.base(), at.base(params.model)] if params.model else [])


def forwards(params: Params, scale: float) -> float:
    """Forward passes per token, for the time that a job asks for.

    Args:
        params: this method's parameters.
        scale: of the edit.

    Returns:
        The base's, and one for each helper.
    """
    return 2.0 + (params.expert == "nontoxic")


def build(inputs: list[Path], params: Params, job: Any) -> dict[str, Any]:
    """Say which models are combined, and how.

    Args:
        inputs: the manifests.
        params: this method's parameters.
        job: `train.job.Job`; nothing is written into its folder.

    Returns:
        The edit's verb and fields.

    Raises:
        UserError: `model` has another tokenizer than the base.
    """
    from ..verbs.logits.describe import fine_tuned, require_same_tokens

    base = None
    if params.model:
        *inputs, own, base = inputs
        require_same_tokens(own, base)
    names = ("anti", "expert")[: len(inputs)]
    helpers = {
        name: fine_tuned(path, job.out, base) for name, path in zip(names, inputs, strict=True)
    }
    return {
        "rule": "contrast",
        "settings": {},
        "helpers": helpers,
        "base_top_p": params.base_top_p,
    }
