"""The gradient of the weights of 3 x 3 convolutions, in a quarter of the multiplications.

Images are cut into tiles of 6 x 6 pixels, each for 4 x 4 of the results. Transformed, tiles and the
gradients of their results are multiplied number by number, which for all tiles and channels are 36
products of matrices; transformed back, these are the gradient. Source: Lavin and Gray, Fast
Algorithms for Convolutional Neural Networks (2016), of whose F(4 x 4, 3 x 3) this is the transpose.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fnet.operation import operation

_TILE = 4
# Channels from which on the products take longer than the transforms.
_MANY = 64

# The paper's matrices B (transposed), A and G.
_PIXELS = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
)
_RESULTS = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, -1.0, 1.0, -1.0],
        [1.0, 2.0, 4.0, 8.0],
        [1.0, -2.0, 4.0, -8.0],
        [0.0, 0.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
)
_WEIGHTS = torch.tensor(
    [
        [1 / 4, 0.0, 0.0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
)
_BACK = torch.kron(_WEIGHTS, _WEIGHTS).T.contiguous()
# The place that adds up a tile: the second row of `_RESULTS`, along both sides.
_SUM = 7


def is_worth_it(x: Tensor, weight: Tensor, padding: list[int]) -> bool:
    """Say whether the tiles of `x` take less time than the library does, rounded as closely."""
    if x.dtype != torch.float32 or weight.shape[2:] != (3, 3) or min(weight.shape[:2]) < _MANY:
        return False
    results = [side + 2 * p - 2 for side, p in zip(x.shape[2:], padding, strict=True)]
    # What is saved may be lost where tiles are a quarter empty.
    return 12 * prod(map(_tiles_along, results)) <= prod(results)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    """Return the library's convolution `[N, K, H', W']`, with another gradient of the weights.

    Args:
        x: images `[N, C, H, W]`.
        weight: `[K, C, 3, 3]`.
        bias: `[K]`, or None.
        padding: zeros around each image, down and across.
    """
    return _Convolution.apply(x, weight, bias, padding)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
        return functional.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.padding = inputs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        plain = [1, 1], ctx.padding, [1, 1], False, [0, 0], 1
        only_x = [True, False, False]
        grad_x = torch.ops.aten.convolution_backward(grad, x, weight, None, *plain, only_x)[0]
        grad_weight, grad_bias = _backward(grad, x, ctx.padding)
        return grad_x, grad_weight, grad_bias if ctx.has_bias else None, None


def _compute(grad: Tensor, x: Tensor, padding: Sequence[int]) -> tuple[Tensor, Tensor]:
    inputs, outputs = x.shape[1], grad.shape[1]
    windows, grad_bias = x.new_empty(3, 3, inputs, outputs), x.new_zeros(outputs)
    products = x.new_zeros(36, inputs, outputs)
    size = grad.shape[2:]
    for pixels, results in zip(
        _tiles(_PIXELS, x, padding, size), _tiles(_RESULTS, grad, (0, 0), size), strict=True
    ):
        products.baddbmm_(pixels.mT, results)
        grad_bias += results[_SUM].sum(0)
    torch.mm(_BACK.to(x.dtype), products.flatten(1), out=windows.view(9, -1))
    # Along the second side first: so are the tiles.
    return windows.permute(3, 2, 1, 0), grad_bias


def _tiles(
    matrix: Tensor, x: Tensor, padding: Sequence[int], size: Sequence[int]
) -> Iterator[Tensor]:
    """Yield the transforms `[36, N, C]` of the tiles of `x` `[N, C, H, W]`, place by place.

    In the same memory each time, which the caches hold: all of them would be more than twice `x`.
    """
    n, channels, height, width = x.shape
    above, before = padding
    down, across = map(_tiles_along, size)
    matrix, side = matrix.to(x.dtype), matrix.shape[1]
    high, block = _TILE * down + side - _TILE, n * channels
    strip, rows, tile = _zeros(x, (high, side, n, channels), (high, 6, block), (6, 6, block))
    for left in range(-before, _TILE * across - before, _TILE):
        start = max(left, 0)
        stop = max(start, min(left + side, width))
        strip[:, : start - left].zero_()
        strip[:, stop - left :].zero_()
        pixels = x[..., start:stop].permute(2, 3, 0, 1)
        strip[above : above + height, start - left : stop - left] = pixels
        torch.bmm(matrix.expand(high, 6, side), strip.flatten(2), out=rows)
        for top in range(0, _TILE * down, _TILE):
            torch.bmm(matrix.expand(6, 6, side), rows[top : top + side].transpose(0, 1), out=tile)
            yield tile.view(36, n, channels)


def _zeros(like: Tensor, *shapes: tuple[int, ...]) -> Iterator[Tensor]:
    """Return zeros in one block: several, between those of a step, leave gaps in the memory."""
    sizes = [prod(shape) for shape in shapes]
    parts = like.new_zeros(sum(sizes)).split(sizes)
    return (part.view(shape) for part, shape in zip(parts, shapes, strict=True))


def _tiles_along(side: int) -> int:
    return -(-side // _TILE)


_backward = operation(
    "winograd_backward",
    "(Tensor grad, Tensor x, int[] padding) -> (Tensor, Tensor)",
    kernel=_compute,
    fake=lambda grad, x, padding: (
        x.new_empty(3, 3, x.shape[1], grad.shape[1]).permute(3, 2, 1, 0),
        x.new_empty(grad.shape[1]),
    ),
)
