"""The sum, entry by entry: tau* = sum_i tau_i, which is N times the mean.

Task arithmetic over several vectors (Ilharco et al., ICLR 2023, arXiv 2212.04089). At a scale it is
the mean at N times that scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from .mean import total

if TYPE_CHECKING:
    import numpy as np

REFERENCE = "Ilharco et al., ICLR 2023"
VERSION = 1


class Params(BaseModel, extra="forbid", strict=True, allow_inf_nan=False):
    """None."""


def merge(block: Any, params: Params, context: None) -> np.ndarray:
    """A block of the sum."""
    return total(block.deltas)
