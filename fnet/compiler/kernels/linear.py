"""Weight gradients of linear layers for batches of a few rows, as loops.

Inductor unrolls a sum over a few rows, and fuses it into the loop of the optimizer.
"""

from torch import Tensor

# The largest number of rows for which Inductor unrolls the sum over them.
_MAX_UNROLLED_ROWS = 7


def is_worth_it(transposed: Tensor, x: Tensor) -> bool:
    """Return whether `product` of `[outputs, rows]` and `[rows, inputs]` beats a library call."""
    is_same = transposed.dtype == x.dtype
    return is_same and x.dtype.is_floating_point and len(x) <= _MAX_UNROLLED_ROWS


def product(transposed: Tensor, x: Tensor) -> Tensor:
    """Return `transposed @ x`: the sum over rows of outer products."""
    return (transposed.t()[:, :, None] * x[:, None, :]).sum(0)
