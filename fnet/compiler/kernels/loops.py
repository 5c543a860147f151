"""Hints for Inductor's loops."""

from torch import Tensor


def in_memory(x: Tensor) -> Tensor:
    """Return `x`, which Inductor computes once instead of anew wherever it is used.

    A view by strides is one of memory: what it views has to lie there.
    """
    return x.as_strided(x.shape, x.stride())
