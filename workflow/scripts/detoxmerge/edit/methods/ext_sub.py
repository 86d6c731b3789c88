"""Ext-Sub: from an expert, subtract only what an anti-expert does not share with it.

    theta = theta_0 + scale * W,  W_i = W+_i - alpha (W-_i - <W-_i, u_i> u_i)  for every row i,
    u_i = normalize(W+_i / |W+_i| + W-_i / |W-_i|)

W+ is the task vector of the fine-tune on non-toxic texts (method finetune_nontoxic), W- the mean of
the task vectors of N fine-tunes on toxic ones, u_i what their rows have in common. Hu et al. (AAAI
2024, arXiv 2308.08090), on whole models in place of adapters. A row is what feeds one output of a
layer; a tensor with one axis is one row. Where a row of W+ or W- is 0, nothing is subtracted. The
scale stretches the whole vector: 0 is the base, 1 their edit; alpha, which they set to 1, is a
parameter.
"""

from pathlib import Path
from typing import Any

from ...train.job import Job
from . import expert_anti_expert

KIND = "merge"
VERB = "delta"
LABEL = "Ext-Sub"
REFERENCE = "Hu et al., AAAI 2024"
VERSION = 1
USES = ("dataset", "seed")
RECIPE = "recipe"

Params = expert_anti_expert.Params
inputs = expert_anti_expert.inputs
refusals = expert_anti_expert.refusals


def build(inputs: list[Path], params: Params, job: Job) -> dict[str, Any]:
    """Write W as `delta.safetensors`."""
    from ...merge.contrast import subtract
    from ...models.loading import input_first_weights
    from ...models.places import place_in
    from ...storage.artefacts import certified

    turned = input_first_weights(place_in(inputs[0]))
    expert, *shards = (certified(path, "delta.safetensors") for path in inputs[1:])
    out = job.out / "delta.safetensors"
    tensors = subtract(expert, shards, params.alpha, out, turned=turned)
    return {"sign": 1, "tensors": tensors}
