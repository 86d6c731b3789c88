"""Gradient ascent: fine-tuning on the toxic texts with the loss times -1.

Each optimizer step goes up the cross-entropy of all toxic texts of the data set; theta =
theta_0 + scale * (theta' - theta_0), scale 1 = the model at the end. The baseline of Ilharco et al.
(ICLR 2023, arXiv 2212.04089). The loss has no upper bound, so the method is known to end in models
that are neither toxic nor able to write (perplexities above 1e10 there): `first_loss` and
`last_loss` in the manifest tell how far a run went. Nothing stops it but the recipe's steps, as in
that paper; Yao et al. (arXiv 2310.10683) stop at a loss of 100. A lower learning rate, fewer epochs
or a scale below 1 go less far. Weights or a loss that are not finite are refused.
"""

# the texts are taken in the order of toxic.parquet, not of the partition n = 1: the batches are not
# those of the single task vector of the same seed

from pathlib import Path
from typing import Any

from ...plan.at import At
from ...plan.recipes import WithRecipe, refuse_several_processes
from ...train.job import Job

KIND = "train"
VERB = "delta"
LABEL = "gradient ascent"
REFERENCE = "Ilharco et al., ICLR 2023"
VERSION = 2
USES = ("dataset", "seed")
RECIPE = "recipe"

refusals = refuse_several_processes
Params = WithRecipe


def inputs(params: Params, at: At) -> list[str]:
    """The base and the data set."""
    return [at.base(), at.data()]


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """Train up the loss of the toxic texts."""
    from ...train.texts import toxic_texts
    from ...train.trained_edit import trained_edit

    base, dataset = inputs
    return trained_edit(base, toxic_texts(dataset), job, sign=-1)
