"""From a model's activations to a direction: DeStein's vectors and ProFS's projection."""
