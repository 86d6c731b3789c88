"""From measurements to what people read: the summary, figures and tables."""
