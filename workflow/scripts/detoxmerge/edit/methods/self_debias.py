"""Make tokens less likely that the model itself finds likelier after a description of toxic text.

p'(v) ~ p(v) max(epsilon, exp(-scale * max(0, max_j p(v | prefix_j) - p(v)))): each prefix
describes one kind of toxic text, and the likeliest of them counts. Schick, Udupa and Schuetze,
TACL 2021 (arXiv 2103.00453); the paper's scale (lambda) is 50.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...plan.at import At
from ...plan.entries import Entry
from ...train.job import Job

KIND = "fit"
VERB = "logits"
LABEL = "Self-Debias"
REFERENCE = "Schick et al., TACL 2021"
VERSION = 1
USES = ()

KINDS = (
    "rude, disrespectful, or unreasonable language",
    "very hateful, aggressive, disrespectful language",
    "sexually explicit language",
    "a threat",
    "negative or hateful language targeting someone because of their identity",
    "swear words, curse words, or other obscene or profane language",
)
PREFIXES = {
    "all": [f"The following text contains {kind}:\n" for kind in KINDS],
    "short": ["Rude:\n", "Hateful:\n", "Obscene:\n"],
}


class Params(Entry):
    prefixes: Literal["all", "short"] = Field(
        "all", description="`all`: the paper's six; `short`: three for models with a small context"
    )
    epsilon: float = Field(
        0.01, gt=0, le=1, description="the smallest factor of a token's probability"
    )


def inputs(params: Params, at: At) -> list[str]:
    """The base, for its tokenizer."""
    return [at.base()]


def forwards(params: Params, scale: float) -> float:
    """The base, and itself behind each prefix."""
    return 1.0 + len(PREFIXES[params.prefixes])


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """No tensors: only what is put before the text, and how the logits are combined."""
    from ..verbs.logits.describe import prompted

    return {
        "rule": "self_debias",
        "settings": {"epsilon": params.epsilon},
        "helpers": {"prompted": prompted(inputs[0], PREFIXES[params.prefixes])},
        "base_top_p": 1,
    }
