"""What an edited model does: text, toxicity, perplexity, parameter change; whatever the method."""
