"""MagMax: for each entry the value with the largest magnitude.

tau* = tau_k with k = argmax_i |tau_i|, entry by entry (Marczak et al., ECCV 2024, arXiv
2407.06322); of equal magnitudes the last in sorted order, as in the authors' code. It keeps the
largest noise, so among vectors of one data set it is a negative control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...plan.entries import Entry

if TYPE_CHECKING:
    import numpy as np

    from ..blocks import Block

REFERENCE = "Marczak et al., ECCV 2024"
VERSION = 1


class Params(Entry):
    """There are none."""


def merge(block: Block, params: Params, context: None) -> np.ndarray:
    """The bits of the vector with the largest magnitude, entry by entry."""
    import numpy as np

    merged = block.deltas[0].copy()
    bits = merged.view(np.uint32)
    for delta in block.deltas[1:]:
        taken = np.abs(delta) >= np.abs(merged)
        bits ^= (bits ^ delta.view(np.uint32)) * taken  # np.where, without a branch per entry
    return merged.astype(np.float64)
