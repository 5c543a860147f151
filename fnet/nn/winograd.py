"""The gradient of the weights of 3 x 3 convolutions, in a quarter of the multiplications.

Images are cut into tiles of 6 x 6 pixels, each for 4 x 4 of the results. Transformed, tiles and the
gradients of their results are multiplied number by number, which for all tiles and channels are 36
products of matrices; transformed back, these are the gradient. Source: Lavin and Gray, Fast
Algorithms for Convolutional Neural Networks (2016), of whose F(4 x 4, 3 x 3) this is the transpose.
"""

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
    ]
)
_RESULTS = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, -1.0, 1.0, -1.0],
        [1.0, 2.0, 4.0, 8.0],
        [1.0, -2.0, 4.0, -8.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
_WEIGHTS = torch.tensor(
    [
        [1 / 4, 0.0, 0.0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0.0, 0.0, 1.0],
    ]
)
_BACK = torch.kron(_WEIGHTS, _WEIGHTS).T.contiguous()
# The place that adds up a tile: the second row of `_RESULTS`, along both sides.
_SUM = 7


def is_worth_it(x: Tensor, weight: Tensor, padding: list[int]) -> bool:
    """Say whether the tiles of `x` take less time than the library does, rounded as closely."""
    if x.dtype != torch.float32 or weight.shape[2:] != (3, 3) or min(weight.shape[:2]) < _MANY:
        return False
    results = [side + 2 * p - 2 for side, p in zip(x.shape[2:], padding, strict=True)]
    # Half of what is saved at most may be lost at the borders.
    return 8 * prod(_tiles_along(side) for side in results) <= prod(results)


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
        tiles = _tiles(_PIXELS, x, ctx.padding, grad)
        shares = _tiles(_RESULTS, grad, [0, 0], grad)
        products = torch.bmm(tiles.permute(1, 2, 0), shares.transpose(0, 1))
        windows = (_BACK @ products.flatten(1)).view(3, 3, *products.shape[1:])
        grad_bias = shares[:, _SUM].sum(0) if ctx.has_bias else None
        return grad_x, windows.permute(3, 2, 0, 1), grad_bias, None


def _tiles(matrix: Tensor, x: Tensor, padding: list[int], results: Tensor) -> Tensor:
    """Return the transforms `[tiles, 36, C]` of the tiles of `x` `[N, C, H, W]`, in any order.

    Zeros are put before `x`, and after it, until all the results have a tile.
    """
    size = matrix.shape[1]
    down, across = map(_tiles_along, results.shape[2:])
    before, beside = padding
    below = down * _TILE + size - _TILE - before - x.shape[2]
    after = across * _TILE + size - _TILE - beside - x.shape[3]
    edges = [0, 0, beside, after, before, below]
    x = x.permute(0, 2, 3, 1)
    x = _pad(x, edges) if any(edges) else x.contiguous()
    n, height, width, channels = x.shape
    row = width * channels
    # Laid out by hand: what is cut like this has been computed before, whatever a compiler thinks.
    windows = x.as_strided((n, down, 1, row, size), (height * row, _TILE * row, 0, 1, row))
    rows = _times(matrix, windows)
    places = (n * down, across, 6, 1, channels, size)
    windows = rows.as_strided(places, (6 * row, _TILE * channels, row, 0, 1, channels))
    return _times(matrix, windows).view(-1, 36, channels)


def _tiles_along(side: int) -> int:
    return -(-side // _TILE)


def _times(matrix: Tensor, windows: Tensor) -> Tensor:
    # Sums of so few are part of a compiler's loops, as a product of matrices would not be.
    return (matrix[:, None] * windows).sum(-1)


def _compute_pad(x: Tensor, edges: list[int]) -> Tensor:
    return functional.pad(x, edges).contiguous()


# Opaque: a compiler would look for each pixel of each tile whether it is one of the image.
_pad = operation("pad", "(Tensor x, int[] edges) -> Tensor", kernel=_compute_pad, fake=_compute_pad)
