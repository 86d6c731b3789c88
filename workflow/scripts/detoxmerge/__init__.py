"""Detoxification of language models by arithmetic on weights: the library behind the workflow.

It knows no Snakemake, no command line and no working folder: paths come in as arguments.
"""
