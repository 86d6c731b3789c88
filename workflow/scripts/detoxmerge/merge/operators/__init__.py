"""The operators that make one vector of N: one file each, found by its name. A module here imports
without numpy.

A module's docstring says what it computes and by whom. It states `REFERENCE`, `Params` (its own
parameters, a `plan.entries.Entry`) and

    merge(block, params, context)            a block of the merged vector (`merge.blocks.Block`), in
                                             fp64; the block's arrays may be overwritten

negmerge.py is the example to follow. A module may also have

    VERSION                                  bumped when its numbers change; the mean's is that of
                                             the method `merge`
    check(params, n)                         raises ValueError if it cannot merge n vectors
    prepare(vectors, params)                 passes over the vectors (`side_by_side.TaskVectors`)
                                             before merging; returns the context, which is what
                                             `merge` has to know of whole tensors or of all, and
                                             facts for the edit's manifest
    READS                                    passes over the vectors, merging included; 1 if absent
    whole_tensors(tensor, shape, params)     whether `merge` must get a tensor in one block; it is
                                             then in memory, of all N vectors

Tests ask for an operator's cases, with a dense reference, in tests/merge/operator_cases.py.
`make methods` writes the operator's section of docs/operators.md. Order statistics across the
vectors are in `merge.sorting_network`, those within a vector in `merge.order_statistics`.

The order of `block.deltas` is that of the vectors' paths. It is called the sorted order.
"""
