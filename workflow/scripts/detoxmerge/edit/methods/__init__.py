"""The methods: one file each, found by its name, imported without torch.

A module states, beside its docstring (what, formula, paper),

    KIND        ``merge`` (CPU, memory), ``train`` (GPU, hours) or ``fit`` (GPU, minutes)
    VERB        what its edit does: a file of edit/verbs; KIND and VERB pick the rule that builds it
    LABEL, REFERENCE, VERSION (bumped when its numbers change)
    USES        of ``dataset`` and ``seed`` those that it depends on
    Params      its parameters, an `Entry`; the order of the fields is that of the setting's path
    inputs(params, at) -> manifests            what it is made from: paths that `at` gives
    build(inputs, params, job) -> fields       reads what lies beside `inputs` by the paths that
                                               `storage.artefacts.certified` gives,
                                               writes tensors into `job.out`, and returns what the
                                               verb reads of `edit.json`, with `tensors` (`file`,
                                               `sha256`, `l2_norm`) if there are any

Nothing outside of a module guesses from the name of a parameter what it means. A field that names
an entry of the catalogue is marked `alias_of`. These constants hold the name of a parameter:

    MERGES      how many shards' vectors become one: the edit has a place on the lines over N
    RECIPE      the recipe of its fine-tuning; a method of KIND ``train`` must have one
    SCORER      the scorer that chooses samples; a method of VERB ``choose`` must have one

A method that only repeats another one, to show how certain its results are, states

    REPLICATE_OF     the name of the other method
    LEAVES_OUT       the name of the parameter that numbers the shard which is left out

A module may also have

    params_of(values) -> class        of its parameters, where that depends on one of them
    operator_of(params) -> module     whose docstring, REFERENCE and VERSION describe these
                                      parameters; None: the method's own do
    single_of(params) -> params       of the single task vector that the headline compares with
    refusals(params, config)          yields a sentence for each thing in the config that it cannot
                                      work with
    forwards(params, scale) -> float  forward passes per token, helpers and candidates included: for
                                      the time that a job asks for; 1 without it

gradient_ascent.py is the example to follow; merge.py has operators, and leave_one_out.py repeats
another method. `make methods` writes the method's section of docs/methods.md; tests take the
smallest values of its parameters, or those in SETTINGS of tests/edit/test_method_contract.py.
"""
