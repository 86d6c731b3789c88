"""How the next-token logits of helpers change those of the base: rules by name, in fp32.

z: logits of the base, (rows, positions, vocabulary), fp32. Each helper gives (J, rows, positions,
vocabulary), one for each of its J prefixes, or J = 1 without a prefix; any float. A rule gives
logits like z.
"""

import math
from collections.abc import Callable, Mapping

import torch

Helpers = Mapping[str, torch.Tensor]


def contrast(z: torch.Tensor, helpers: Helpers, scale: float) -> torch.Tensor:
    """z + scale * (z_expert - z_anti); without an expert z itself stands in its place.

    Liu et al., ACL 2021 (arXiv 2105.03023), equation 1, where scale is alpha.

    Args:
        z: see above.
        helpers: `anti`, and `expert` if there is one.
        scale: alpha.
    """
    expert = helpers["expert"][0].float() if "expert" in helpers else z
    return z + scale * (expert - helpers["anti"][0].float())


def self_debias(z: torch.Tensor, helpers: Helpers, scale: float, *, epsilon: float) -> torch.Tensor:
    """p'(v) ~ p(v) max(epsilon, exp(-scale * max(0, max_j p_j(v) - p(v)))).

    Schick et al., TACL 2021 (arXiv 2103.00453), equations 3 to 5, where scale is lambda.

    Args:
        z: see above.
        helpers: `prompted`, whose J prefixes describe what is not wanted.
        scale: lambda.
        epsilon: the smallest factor, above 0.
    """
    p, prompted = z.softmax(dim=-1), helpers["prompted"]
    largest = prompted[0].float().softmax(dim=-1)
    for logits in prompted[1:]:  # one by one: a softmax of all would take J times z
        torch.maximum(largest, logits.float().softmax(dim=-1), out=largest)
    return z + (scale * (p - largest).clamp(max=0)).clamp(min=math.log(epsilon))


RULES: dict[str, Callable[..., torch.Tensor]] = {"contrast": contrast, "self_debias": self_debias}
