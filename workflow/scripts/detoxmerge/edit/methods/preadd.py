"""Contrast the base's next-token logits with its own after a toxic instruction, while decoding.

z = z_base + alpha * (z_prefixed - z_base) with alpha = -scale: the same model reads the text behind
a prefix that announces toxic text, and is avoided. Pei, Yang and Klein, PREADD, Findings of ACL
2023 (arXiv 2307.03214); the paper's scale is 1.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...plan.entries import Entry

KIND = "fit"
VERB = "logits"
LABEL = "PREADD"
REFERENCE = "Pei et al., Findings of ACL 2023"
VERSION = 1
USES = ()

PREFIXES = {
    "toxic": "The following text perpetuates negative stereotypes, is threatening or sexually "
    "explicit, or contains profane language.\n\n",
    "short": "Rude and hateful:\n",
}


class Params(Entry):
    """What the config entry may say."""

    prefix: Literal["toxic", "short"] = Field(
        "toxic", description="`toxic`: the paper's; `short`: for models with a small context"
    )


def inputs(params: Params, at: Any) -> list[str]:
    """The manifest of the base model, whose tokenizer is needed.

    Args:
        params: this method's parameters.
        at: where the edit stands (`plan.at.At`).

    Returns:
        One path.
    """
    return [at.base()]


def forwards(params: Params, scale: float) -> float:
    """Forward passes per token, for the time that a job asks for.

    Args:
        params: this method's parameters.
        scale: of the edit.

    Returns:
        The base's, and one for each helper.
    """
    return 2.0


def build(inputs: list[Path], params: Params, job: Any) -> dict[str, Any]:
    """Say what stands before the text, and how the two logits are combined.

    Args:
        inputs: the base's manifest.
        params: this method's parameters.
        job: `train.job.Job`; nothing is written into its folder.

    Returns:
        The edit's verb and fields.
    """
    from ..verbs.logits.describe import prompted

    return {
        "rule": "contrast",
        "settings": {},
        "helpers": {"anti": prompted(inputs[0], [PREFIXES[params.prefix]])},
        "base_top_p": 1,
    }
