"""Columns of one file, a module per format: just those that are asked for.

Other columns may hold what they like. The type of a column is found over the whole file. What is
not understood is refused in a sentence that names the line; a line of CSV and of JSON lines is one
of the file, as an editor counts them, and elsewhere rows are counted from 1.

Each module has

    read(file, asked, text, name, where) -> Columns

        file: the bytes.
        asked: names of the columns.
        text: the one whose values are texts.
        name: what the config calls the source, for error messages.
        where: the same and the file's name.
        Raises UserError: a column is missing or there twice, or a line is not understood.
"""
