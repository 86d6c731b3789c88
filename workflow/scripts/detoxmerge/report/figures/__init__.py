"""The figures: one file each, found by its name.

A file states, as literals that the Snakefile reads without importing matplotlib,

    TITLE       in the report, where its number gives its place
    CATEGORY    of the report
    NEEDS       what it is made from, as named in workflow/rules/report_files.smk
    ONLY_IF     a property of the grid without which the figure has nothing to show; None for no
                condition

and has

    table(inputs) -> DataFrame      what it shows; kept beside the figure as CSV
    draw(data) -> Figure            from that table alone

`inputs` is `report.inputs.Inputs`. Its caption is workflow/report/<name>.rst. toxicity.py is the
example to follow.
"""
