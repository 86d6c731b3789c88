"""The operators that make one vector of N: one file each in edit/operators, found by file name.

A module states what it computes and by whom in its docstring, `REFERENCE`, `Params` (its own
parameters, strict) and

    merge(block, params, context) -> array       a block of the merged vector, fp64

(`edit.blocks.Block`); edit/operators/negmerge.py is the example to follow. It may also have

    VERSION                                      bumped when its numbers change; of `mean`: merge's
    check(params, n)                             ValueError if it cannot merge n vectors
    prepare(shards, params) -> context, facts    what `merge` has to know of whole tensors, found in
                                                 passes over them (`edit.shards.Shards`); the facts
                                                 stand in the edit's manifest
    READS                                        passes over the shards, merging included; else 1
    by_columns(tensor, shape, params) -> bool    tensors that `merge` must get in blocks of whole
                                                 columns: no block cuts the first axis of these
"""

from ..edit import operators
from .modules import Modules

OPERATORS = Modules(operators)
