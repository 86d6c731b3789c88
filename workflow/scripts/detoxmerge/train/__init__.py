"""Training: fine-tunes of the shards; also a base model and a scorer, where there is no hub."""
