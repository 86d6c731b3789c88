"""MagMax: of each entry the value with the largest magnitude.

tau* = tau_k with k = argmax_i |tau_i|, entry by entry (Marczak et al., ECCV 2024, arXiv
2407.06322); of equal magnitudes the last in sorted order, as in the authors' code. It keeps
the largest noise, so among vectors of one data set it is a negative control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    import numpy as np

REFERENCE = "Marczak et al., ECCV 2024"
VERSION = 1


class Params(BaseModel, extra="forbid", strict=True, allow_inf_nan=False):
    """None."""


def merge(block: Any, params: Params, context: None) -> np.ndarray:
    """A block of the merged vector."""
    import numpy as np

    found = block.deltas[0].copy()
    bits = found.view(np.uint32)
    for delta in block.deltas[1:]:
        taken = np.abs(delta) >= np.abs(found)
        bits ^= (bits ^ delta.view(np.uint32)) * taken  # np.where, which guesses entry by entry
    return found.astype(np.float64)
