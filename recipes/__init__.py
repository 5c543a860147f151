"""Experiments, one module each: `python -m recipes.dainet7`."""
