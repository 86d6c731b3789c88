"""What an edit does to the base model: one file per verb, found by file name.

A module has a class `Verb`:

    Verb(edit, model, device, dtype)    edit: path of `edit.json`; model: the base in fp32 on the
                                        CPU, before it is cast and moved
    apply(scale)                        leaves that model edited, after it was cast and moved; at 0
                                        it is the base, bit for bit
    sampling(scale) -> Sampling         what the edit asks of sampling
    forwards(scale) -> float            forward passes per token, the base's own included

and `TENSORS`, the names of the files beside `edit.json`.
"""
