"""The methods: one file each, found by its name, imported without torch.

A module states, beside its docstring (what, formula, paper),

    KIND        ``merge`` (CPU, memory), ``train`` (GPU, hours) or ``fit`` (GPU, minutes)
    VERB        what its edit does: a file of edit/verbs; KIND and VERB pick the rule that builds it
    LABEL, REFERENCE, VERSION (bumped when its numbers change)
    USES        of ``dataset`` and ``seed`` those that it depends on
    Params      its parameters; one that names an entry of the catalogue is marked `alias_of`
    inputs(params, at) -> manifests            what it is made from (`plan.at.At`)
    build(inputs, params, job) -> fields       writes the tensors (`train.job.Job`); gives `verb`,
                                               `tensors` if there are any, and what the verb reads

leave_one_out.py is the example to follow. One that only repeats another method to tell
how sure its results are names that in `REPLICATE_OF`.

It may also have `params_of(values)` (the class of its parameters, where that depends on one of
them), `operator_of(params)` (a module whose docstring, REFERENCE and VERSION tell of these
parameters, or None), `single_of(params)` (the parameters of the single task vector that the
headline compares with; merge.py has all three), `refusals(params, config)` (yields
a sentence for each thing in the config that it cannot work with) and `forwards(params, scale)`
(forward passes per token, where they are many: for the time that a job asks for).
"""
