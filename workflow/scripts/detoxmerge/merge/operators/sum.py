"""The sum, entry by entry: tau* = sum_i tau_i, which is N times the mean.

Task arithmetic over several vectors (Ilharco et al., ICLR 2023, arXiv 2212.04089). At a scale it is
the mean at N times that scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...plan.entries import Entry
from .mean import total

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Ilharco et al., ICLR 2023"
VERSION = 1


class Params(Entry):
    """There are none."""


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """The sum of the block."""
    return total(block.deltas)
