"""Texts from the hub, from files, or generated here: data sets, shards, prompts and corpora."""
