"""Language models and scorers: where they are, and how they are loaded and used."""
