"""Experiments, one module each: `python -m recipes.dainet7`."""

import sys

# While the module's name is still being looked up: what it imports takes seconds.
if (
    sys.argv[0] == "-m"
    and sys.stderr.isatty()
    and any(word.startswith("recipes.") for word in sys.orig_argv)
):
    print("Loading PyTorch ...", file=sys.stderr)
