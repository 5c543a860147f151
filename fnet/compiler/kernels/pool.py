"""Max pooling in training mode, compiled for the CPU: as loops, in C++, or a library call."""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fnet import native
from fnet.nn.loops import has_own_way, in_memory
from fnet.operation import as_laid_out, operation

_SOURCE = "fnet.nn", "pool.cpp"
# Places in a tile up to which a loop looks at them one after the other.
_SMALL = 16
# Numbers from which on a library call takes less time than what a compiler makes of one, and all
# threads less than one.
_MANY = 100_000


class MaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d`, computed as is quickest while it trains, compiled for the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima of the windows of `x` `[N, C, H, W]`."""
        if not has_own_way(self, x):
            return super().forward(x)
        window = [_pair(w) for w in (self.kernel_size, self.stride, self.padding, self.dilation)]
        if _is_tiled(x, *window):
            if _are_in_rows(x, window[0], window[2]):
                return _InRows.apply(x, native.threads() if x.numel() > _MANY else 1)[0]
            if not x.is_contiguous():
                return _Tiles.apply(x, window[0], window[2])[0]
        if x.numel() > _MANY:
            return _MaxPool.apply(x, *window, self.ceil_mode)[0]
        return super().forward(x)


def own_pool(layer: nn.Module) -> nn.Module | None:
    """Return what takes the place of an `nn.MaxPool2d`, else None."""
    if type(layer) is not nn.MaxPool2d or layer.return_indices:
        return None
    window = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    return MaxPool2d(*window, ceil_mode=layer.ceil_mode)


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _is_tiled(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> bool:
    """Say whether the windows cut images, once padded, into small tiles."""
    padded = [size + 2 * p for size, p in zip(x.shape[2:], padding, strict=True)]
    return (
        (stride, dilation) == (kernel, [1, 1])
        and all(size % k == 0 for size, k in zip(padded, kernel, strict=True))
        and all(2 * p <= k for p, k in zip(padding, kernel, strict=True))
        and prod(kernel) <= _SMALL
    )


def _are_in_rows(x: Tensor, tile: list[int], padding: list[int]) -> bool:
    """Say whether images lie row after row, to be cut into tiles of 2 x 2."""
    if (tile, padding) != ([2, 2], [0, 0]) or x.dtype not in (torch.float32, torch.float64):
        return False
    return x.is_contiguous() and native.is_possible(*_SOURCE)


class _InRows(torch.autograd.Function):
    """`(x, threads) -> (maxima, their places in the tiles)`, of tiles of 2 x 2 (`pool.cpp`)."""

    @staticmethod
    def forward(x: Tensor, threads: int) -> tuple[Tensor, Tensor]:
        return _pool(x, threads)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, ctx.threads = inputs
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _pool_backward(grad, places, ctx.threads), None


class _Tiles(torch.autograd.Function):
    """`(x, tile, padding) -> (maxima, their places in the tiles)`, as loops that join others.

    Places are numbers of the dtype of `x`: others would be converted in the loops.
    """

    @staticmethod
    def forward(x: Tensor, tile: list[int], padding: list[int]) -> tuple[Tensor, Tensor]:
        (high, wide), (down, across) = tile, padding
        x = functional.pad(x, (across, across, down, down), value=-torch.inf)
        maxima = x[:, :, ::high, ::wide]
        places = torch.zeros_like(maxima)
        for place in range(1, high * wide):
            row, column = divmod(place, wide)
            other = x[:, :, row::high, column::wide]
            places = torch.where(other > maxima, float(place), places)
            maxima = torch.maximum(maxima, other)
        return in_memory(maxima), in_memory(places)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, ctx.tile, ctx.padding = inputs
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (places,), (high, wide), (down, across) = ctx.saved_tensors, ctx.tile, ctx.padding
        # In the order of the loop: a linear layer's gradient is not.
        grad = in_memory(grad.contiguous(memory_format=torch.channels_last))
        tile = torch.arange(high * wide, dtype=places.dtype).view(high, 1, wide)
        is_place = places[:, :, :, None, :, None] == tile
        spread = torch.where(is_place, grad[:, :, :, None, :, None], 0.0)
        padded = spread.flatten(4, 5).flatten(2, 3)
        return functional.pad(padded, (-across, -across, -down, -down)), None, None


class _MaxPool(torch.autograd.Function):
    """`(x, kernel, stride, padding, dilation, ceil_mode) -> (maxima, their places)`."""

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
        return _backward(grad, *ctx.saved_tensors, *ctx.window), None, None, None, None, None


def _compute_backward(grad: Tensor, x: Tensor, places: Tensor, *window: Any) -> Tensor:
    grad_x = torch.ops.aten.max_pool2d_with_indices_backward(grad, x, *window, places)
    return as_laid_out(grad_x, x)


def _like_tiles(x: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    n, channels, height, width = x.shape
    shape = n, channels, height // 2, width // 2
    return x.new_empty(shape), x.new_empty(shape)


def _like_pixels(grad: Tensor, places: Tensor, threads: int) -> Tensor:
    n, channels, height, width = grad.shape
    return grad.new_empty(n, channels, 2 * height, 2 * width)


_pool = operation("pool", "(Tensor x, int threads) -> (Tensor, Tensor)", fake=_like_tiles)
_pool_backward = operation(
    "pool_backward", "(Tensor grad, Tensor places, int threads) -> Tensor", fake=_like_pixels
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
