"""Edits: the recipe that turns the base model into the edited one, and how recipes are made."""
