"""Convolutions of 3 x 3 windows, and their gradients, in a quarter of the multiplications.

Images are cut into tiles of 6 x 6 pixels, each for 4 x 4 of the results. Tiles and windows are
transformed to 36 numbers each, which are multiplied number by number: for all tiles and channels
these are 36 products of matrices. Transformed back they are the results, and of tiles and the
gradients of their results, the gradient of the windows. Source: Lavin and Gray, Fast Algorithms for
Convolutional Neural Networks (2016), F(4 x 4, 3 x 3), and its transpose.

`winograd.cpp` does this for a few tiles at a time, which a cache has room for. No number is off by
more than 2e-5 of the largest beside it, of the library's by 1e-5: `python -m pytest
tests/nn/test_winograd.py -k rounding` holds it.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from fnet import native
from fnet.operation import operation

_TILE = 4
# Channels that `winograd.cpp` takes at once.
_PANEL = 16
# Tiles from which on it pays to transform the windows.
_MANY = 64

# The paper's G, along both sides: of 9 weights it makes 36.
_LINE = torch.tensor(
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
_WINDOW = torch.kron(_LINE, _LINE)


def is_worth_it(x: Tensor, weight: Tensor, padding: Sequence[int]) -> bool:
    """Say whether `convolution` takes less time than the library does."""
    if x.dtype != torch.float32 or weight.shape[2:] != (3, 3) or not native.is_possible():
        return False
    if any(channels % _PANEL for channels in weight.shape[:2]) or max(padding) > 2:
        return False
    results = _results(x.shape[2:], padding)
    tiles = prod(map(_tiles_along, results))
    # What is saved may be lost where tiles are nearly a third empty.
    return len(x) * tiles >= _MANY and prod(results) >= 0.7 * tiles * _TILE**2


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    """Return the convolution `[N, K, H', W']`.

    Args:
        x: images `[N, C, H, W]`.
        weight: `[K, C, 3, 3]`.
        bias: `[K]`, or None.
        padding: zeros around each image, down and across: none, one or two.
    """
    return _Convolution.apply(x, weight, bias, padding)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
        return _convolution(x, weight, bias, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.padding = inputs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        around = [2 - zeros for zeros in ctx.padding]
        grad_x = _convolution(grad, weight.flip((2, 3)).transpose(0, 1), None, around)
        grad_weight, grad_bias = _weight_gradient(grad, x, ctx.padding)
        return grad_x, grad_weight, grad_bias if ctx.has_bias else None, None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    y, zeros = _empty_results(x, weight, bias, padding), x.new_zeros(max(weight.shape[:2]))
    windows = weight.permute(2, 3, 0, 1).unflatten(2, (-1, _PANEL)).transpose(3, 4)
    windows = _WINDOW.to(x.dtype) @ windows.reshape(9, -1)
    _run("convolve", x, y, padding, zeros, windows, zeros if bias is None else bias.contiguous())
    return y


def _differentiate(grad: Tensor, x: Tensor, padding: Sequence[int]) -> tuple[Tensor, Tensor]:
    inputs, outputs, threads = x.shape[1], grad.shape[1], torch.get_num_threads()
    products, sums = x.new_zeros(threads, 36, inputs, outputs), x.new_zeros(threads, outputs)
    _run("differentiate", x, grad, padding, x.new_zeros(max(inputs, outputs)), products, sums)
    windows = _WINDOW.T.to(x.dtype) @ products.sum(0).view(36, -1)
    return windows.view(3, 3, inputs, outputs).permute(3, 2, 0, 1), sums.sum(0)


def _run(name: str, x: Tensor, y: Tensor, padding: Sequence[int], *tensors: Tensor) -> None:
    """Call a function of `winograd.cpp` with images `x`, padded, their results `y`, and more."""
    library, threads = native.library("fnet.nn", "winograd.cpp"), torch.get_num_threads()
    x, y = (images.contiguous(memory_format=torch.channels_last) for images in (x, y))
    (n, inputs, *of_x), (_, outputs, *of_y) = x.shape, y.shape
    grid = [_tiles_along(side) for side in of_y]
    sizes = [*of_x, inputs, *padding, *of_y, outputs, 0, 0, *grid, n * prod(grid), threads]
    scratch = x.new_empty(threads * library.scratch(inputs, outputs))
    native.call(library, name, sizes, x, y, *tensors, scratch)


def _results(size: Sequence[int], padding: Sequence[int]) -> list[int]:
    return [side + 2 * zeros - 2 for side, zeros in zip(size, padding, strict=True)]


def _tiles_along(side: int) -> int:
    return -(-side // _TILE)


def _empty_results(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]
) -> Tensor:
    shape = len(x), len(weight), *_results(x.shape[2:], padding)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _empty_gradients(grad: Tensor, x: Tensor, padding: Sequence[int]) -> tuple[Tensor, Tensor]:
    inputs, outputs = x.shape[1], grad.shape[1]
    return x.new_empty(3, 3, inputs, outputs).permute(3, 2, 0, 1), x.new_empty(outputs)


_convolution = operation(
    "winograd",
    "(Tensor x, Tensor weight, Tensor? bias, int[] padding) -> Tensor",
    kernel=_convolve,
    fake=_empty_results,
)
_weight_gradient = operation(
    "winograd_weight_gradient",
    "(Tensor grad, Tensor x, int[] padding) -> (Tensor, Tensor)",
    kernel=_differentiate,
    fake=_empty_gradients,
)
