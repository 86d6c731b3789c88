"""Contrast the base's next-token logits with its own after a toxic instruction, while decoding.

z = z_base + alpha * (z_prefixed - z_base) with alpha = -scale: the same model reads the text behind
a prefix that announces toxic text, and is avoided. Pei, Yang and Klein, PREADD, Findings of ACL
2023 (arXiv 2307.03214); the paper's scale is 1.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...plan.at import At
from ...plan.entries import Entry
from ...train.job import Job

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
    prefix: Literal["toxic", "short"] = Field(
        "toxic", description="`toxic`: the paper's; `short`: for models with a small context"
    )


def inputs(params: Params, at: At) -> list[str]:
    """The base, for its tokenizer."""
    return [at.base()]


def forwards(params: Params, scale: float) -> float:
    """The base, and itself behind the prefix."""
    return 2.0


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """No tensors: only what is put before the text, and how the logits are combined."""
    from ..verbs.logits.describe import prompted

    return {
        "rule": "contrast",
        "settings": {},
        "helpers": {"anti": prompted(inputs[0], [PREFIXES[params.prefix]])},
        "base_top_p": 1,
    }
