"""A run of a recipe: config in, run directory out."""
