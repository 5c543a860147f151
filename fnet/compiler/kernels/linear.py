"""Weight gradients of linear layers of a few rows, as loops.

Inductor writes out a sum over a few rows, and fuses it into the optimizer's loop.
"""

from torch import Tensor

# Rows up to which Inductor writes out the sum over them.
_FEW = 7


def is_worth_it(transposed: Tensor, x: Tensor) -> bool:
    """Say whether `product` of `[outputs, rows]` and `[rows, inputs]` beats a library call."""
    return transposed.dtype == x.dtype and transposed.dtype.is_floating_point and len(x) <= _FEW


def product(transposed: Tensor, x: Tensor) -> Tensor:
    """Return `transposed @ x`: the sum over rows of outer products."""
    return (transposed.t()[:, :, None] * x[:, None, :]).sum(0)
