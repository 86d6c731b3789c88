"""Data sets, shards, prompts, corpora, base models and scorers: whatever comes from outside."""
