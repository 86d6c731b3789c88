"""What can be wrong in a config beyond a single value: a sentence for each error."""
