"""The operators that make one vector of N: one file each, found by its name. A module here imports
without numpy.

A module states what it computes and by whom in its docstring, `REFERENCE`, `Params` (its own
parameters, strict) and

    merge(block, params, context) -> array       a block of the merged vector, fp64

(`merge.blocks.Block`); negmerge.py is the example to follow. It may also have

    VERSION                                      bumped when its numbers change; of `mean`: merge's
    check(params, n)                             ValueError if it cannot merge n vectors
    prepare(vectors, params) -> context, facts   what `merge` has to know of whole tensors, found in
                                                 passes over them (`side_by_side.TaskVectors`); the
                                                 facts stand in the edit's manifest
    READS                                        passes over the vectors, merging included; else 1
    by_columns(tensor, shape, params) -> bool    tensors that `merge` must get in blocks of whole
                                                 columns: no block cuts the first axis of these
"""
