"""Experiments and tools, one module each: `python -m recipes.dainet7`."""
