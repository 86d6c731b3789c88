"""What a config can get wrong beyond a single value: a sentence for each error."""
