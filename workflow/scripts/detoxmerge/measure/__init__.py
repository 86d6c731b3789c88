"""What an edited model does: text, toxicity, perplexity, parameter change. Knows no method."""
