"""Training: fine-tunes of the shards; a base model and a scorer where no hub is at hand."""
