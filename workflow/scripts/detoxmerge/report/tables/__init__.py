"""The tables: one file each, found by its name.

A file states, as literals,

    TITLE, CATEGORY, NEEDS    as a file of figures/ does
    VERSION                   bumped when its numbers change, with a line in the changelog
    BESIDE                    further tables that it makes: names of functions of the inputs, and
                              of paths in plan/paths.py

and has `table(inputs) -> formats.Table`. Its caption is workflow/report/<name>.rst.
"""
