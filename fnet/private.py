"""Every private name of PyTorch that fnet's Python uses: why, and what happens without it."""

from collections.abc import Callable
from typing import Any


def is_dynamos(fn: Callable[..., Any]) -> bool:
    """Return whether a function is what `torch.compile` returned.

    `fnet.testing` runs such a step as it is, with its own options. No public name says it. Without
    the private one, a compiled step that was called before is compiled once more.
    """
    return hasattr(fn, "_torchdynamo_orig_callable")
