"""Max pooling and its backward on the CPU: as Inductor's loops, in C++, or as a library call.

While a function is traced, `fnet.compiler.kernels.tracing.Tracing` replaces max pooling by a pair
of opaque operations (forward and backward). The graph pass replaces these by one of the three
implementations, when the final strides are known. It does not match the pair in Inductor's own
graph, because the backward there depends on version, dtype and mode: an ATen operation, or a
`scatter_add` between views.
"""

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from fnet.compiler.kernels import native
from fnet.compiler.kernels.derivatives import differentiated
from fnet.compiler.kernels.loops import materialized
from fnet.opaque import operation

_SOURCE = "pool.cpp"
# The largest number of pixels in a tile that a loop compares one after the other.
_MAX_TILE = 16
# For more elements than this, a library call is faster than Inductor's loop, and all threads are
# faster than one.
_MAX_LOOP_ELEMENTS = 100_000


def forward_rule(node: Node) -> Callable[..., Any]:
    """Return the implementation of `fnet::max_pool2d`: `(x, *window) -> (maxima, places)`."""
    args: Any = node.args
    x, *window = args
    pair = any(
        user.target is operator.getitem and user.args[1] and user.users for user in node.users
    )
    # Without a backward it is one loop, which Inductor fuses with others.
    chosen = _implementation(x.meta["val"], *window) if pair else _LIBRARY_LOOPS
    return chosen[0]


def backward_rule(node: Node) -> Callable[..., Any]:
    """Return the implementation of `fnet::max_pool2d_backward`.

    It is a function `(grad, x, places, *window) -> grad_x`.
    """
    args: Any = node.args
    _, x, _, *window = args
    return _implementation(x.meta["val"], *window)[1]


def max_pool2d(
    x: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Return `functional.max_pool2d(x, ...)` as the pair of opaque operations."""
    # PyTorch's default is None or an empty list. It refuses 0, as the operation does.
    strides = kernel_size if stride is None or stride in ((), []) else stride
    window = [_pair(w) for w in (kernel_size, strides, padding, dilation)]
    return _MaxPool.apply(x, *window, ceil_mode)[0]


def _implementation(
    x: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the functions for the maxima of images like `x`, and for the gradient."""
    if _is_tiled(x, kernel, stride, padding, dilation):
        if _are_in_rows(x, kernel, padding):
            return _rows, _rows_backward
        if not x.is_contiguous():
            return _tiles, _tiles_backward
    return (_forward, _backward) if x.numel() > _MAX_LOOP_ELEMENTS else _LIBRARY_LOOPS


def _pair(value: int | tuple[int, ...]) -> list[int]:
    if isinstance(value, int):
        return [value, value]
    return list(value) * 2 if len(value) == 1 else list(value)


def _is_tiled(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> bool:
    """Return whether the windows partition the padded images into small tiles."""
    padded = [size + 2 * p for size, p in zip(x.shape[2:], padding, strict=True)]
    return (
        (stride, dilation) == (kernel, [1, 1])
        and all(size % k == 0 for size, k in zip(padded, kernel, strict=True))
        and all(2 * p <= k for p, k in zip(padding, kernel, strict=True))
        and prod(kernel) <= _MAX_TILE
    )


def _are_in_rows(x: Tensor, tile: list[int], padding: list[int]) -> bool:
    """Return whether images are contiguous and the tiles are 2 x 2, as `pool.cpp` needs."""
    if (tile, padding) != ([2, 2], [0, 0]) or x.dtype not in (torch.float32, torch.float64):
        return False
    return x.is_contiguous() and native.is_possible(_SOURCE)


def _rows(x: Tensor, *window: Any) -> tuple[Tensor, Tensor]:
    """Return the maxima of tiles of 2 x 2 and their places, by `pool.cpp`."""
    return _pool(x, _threads(x))


def _rows_backward(grad: Tensor, x: Tensor, places: Tensor, *window: Any) -> Tensor:
    return _pool_backward(grad, places, _threads(x))


def _threads(x: Tensor) -> int:
    return native.threads() if x.numel() > _MAX_LOOP_ELEMENTS else 1


def _tiles(
    x: Tensor, tile: list[int], stride: list[int], padding: list[int], *_: Any
) -> tuple[Tensor, Tensor]:
    """Return the maxima of tiles and their places, as loops that Inductor fuses with others.

    Places have the dtype of `x`, which avoids conversions in the loops.
    """
    (high, wide), (down, across) = tile, padding
    x = functional.pad(x, (across, across, down, down), value=-torch.inf)
    maxima = x[:, :, ::high, ::wide]
    places = torch.zeros_like(maxima)
    for place in range(1, high * wide):
        row, column = divmod(place, wide)
        other = x[:, :, row::high, column::wide]
        # NaN counts as the largest number.
        larger = (other > maxima) | (other != other)
        places = torch.where(larger, float(place), places)
        maxima = torch.where(larger, other, maxima)
    return materialized(maxima), materialized(places)


def _tiles_backward(
    grad: Tensor,
    x: Tensor,
    places: Tensor,
    tile: list[int],
    stride: list[int],
    padding: list[int],
    *_: Any,
) -> Tensor:
    (high, wide), (down, across) = tile, padding
    # In the memory order of the loop; the gradient of a linear layer is not.
    grad = materialized(grad.contiguous(memory_format=torch.channels_last))
    numbers = torch.arange(high * wide, dtype=places.dtype).view(high, 1, wide)
    is_place = places[:, :, :, None, :, None] == numbers
    spread = torch.where(is_place, grad[:, :, :, None, :, None], 0.0)
    padded = spread.flatten(4, 5).flatten(2, 3)
    return functional.pad(padded, (-across, -across, -down, -down))


class _MaxPool(torch.autograd.Function):
    """`(x, kernel, stride, padding, dilation, ceil_mode) -> (maxima, places)`."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        return _forward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(inputs[0], output[1])
        ctx.window = inputs[1:]
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (x, places), window = ctx.saved_tensors, ctx.window

        def kernel(grad: Tensor, x: Tensor, places: Tensor) -> Tensor:
            return _backward(grad, x, places, *window)

        def reference(grad: Tensor, x: Tensor) -> Tensor:
            # Not with `places`: what they are is known only after the graph pass.
            _, indices = torch.ops.aten.max_pool2d_with_indices(x, *window)
            return torch.ops.aten.max_pool2d_with_indices_backward(grad, x, *window, indices)

        grad_x = differentiated(kernel, reference, (grad, x), (places,))
        return grad_x, None, None, None, None, None


def _compute_backward(grad: Tensor, x: Tensor, places: Tensor, *window: Any) -> Tensor:
    grad_x = torch.ops.aten.max_pool2d_with_indices_backward(grad, x, *window, places)
    like_x = torch.empty_like(x)
    return grad_x if grad_x.stride() == like_x.stride() else like_x.copy_(grad_x)


def _like_tiles(x: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    n, channels, height, width = x.shape
    shape = n, channels, height // 2, width // 2
    return x.new_empty(shape), x.new_empty(shape)


def _like_pixels(grad: Tensor, places: Tensor, threads: int) -> Tensor:
    n, channels, height, width = grad.shape
    return grad.new_empty(n, channels, 2 * height, 2 * width)


_pool = operation(
    "pool",
    "(Tensor x, int threads) -> (Tensor, Tensor)",
    fake=_like_tiles,
    kernel=native.loading(_SOURCE, "pool"),
)
_pool_backward = operation(
    "pool_backward",
    "(Tensor grad, Tensor places, int threads) -> Tensor",
    fake=_like_pixels,
    kernel=native.loading(_SOURCE, "pool_backward"),
)
_WINDOW = "int[] kernel, int[] stride, int[] padding, int[] dilation, bool ceil_mode"
_forward = operation(
    "max_pool2d",
    f"(Tensor x, {_WINDOW}) -> (Tensor, Tensor)",
    kernel=torch.ops.aten.max_pool2d_with_indices.default,
    fake=torch.ops.aten.max_pool2d_with_indices.default,
)
_backward = operation(
    "max_pool2d_backward",
    f"(Tensor grad, Tensor x, Tensor places, {_WINDOW}) -> Tensor",
    kernel=_compute_backward,
    fake=lambda grad, x, *_: torch.empty_like(x),
)


def _loops_backward(grad: Tensor, x: Tensor, places: Tensor, *window: Any) -> Tensor:
    return torch.ops.aten.max_pool2d_with_indices_backward(grad, x, *window, places)


_LIBRARY_LOOPS = torch.ops.aten.max_pool2d_with_indices.default, _loops_backward
FORWARD, BACKWARD = _forward, _backward
