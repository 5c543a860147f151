"""Winograd convolutions with 3 x 3 and 5 x 5 windows, and their gradients.

Images are split into overlapping tiles of 6 x 6 pixels. Each tile gives 4 x 4 outputs of a 3 x 3
window, or 2 x 2 outputs of a 5 x 5 window. Tiles and windows are transformed to 36 numbers each,
which are multiplied elementwise: 36 multiplications instead of 144 or 100. For all tiles and
channels, these are 36 matrix products. The inverse transform gives the outputs. In the same way,
tiles and the gradients of their outputs give the gradient of the windows. Source: Lavin and Gray,
Fast Algorithms for Convolutional Neural Networks (2016), F(4 x 4, 3 x 3) and F(2 x 2, 5 x 5), and
their transposes.

`winograd.cpp` computes this for blocks of a few tiles, which fit in the cache. In fp32 the error of
each number is at most 2e-5 of the largest number
(`python -m pytest tests/compiler/kernels/test_winograd.py -k rounding`).
"""

from collections.abc import Sequence
from functools import cache
from math import prod

import torch
from torch import Tensor

from fnet.compiler.kernels import native
from fnet.opaque import operation

_SOURCE = "winograd.cpp"
# The side of a tile's outputs, by the side of the window.
_RESULTS = {3: 4, 5: 2}
# Channels per panel in `winograd.cpp`.
_PANEL = 16
# With fewer tiles per thread, transforming the windows does not pay off.
_MIN_TILES_PER_THREAD = 32
# With fewer tiles times pairs of channels, the overhead is longer than the time saved.
_MIN_MULTIPLY_ADDS = 2**18
# The largest scratch memory of all threads together for their products, in floats.
_MAX_SCRATCH_FLOATS = 2**26
# The interpolation points of the paper's polynomials, except infinity, with their scales.
_POINTS = {0: 1 / 4, 1: -1 / 6, -1: -1 / 6, 2: 1 / 24, -2: 1 / 24}


def is_worth_it(x: Tensor, weight: Tensor, padding: Sequence[int]) -> bool:
    """Return whether `convolution` and `backward` are faster than the library."""
    high, window = weight.shape[2:]
    if high != window or window not in _RESULTS or x.shape[1] != weight.shape[1]:
        return False
    if x.dtype != torch.float32 or weight.dtype != x.dtype:
        return False
    if any(channels % _PANEL for channels in weight.shape[:2]) or max(padding) >= window:
        return False
    results = _results(x.shape[2:], window, padding)
    each, threads = prod(_tiles(results, window)), native.threads()
    tiles, products = x.shape[0] * each, prod(weight.shape[:2])
    # If nearly a third of the tiles' outputs is unused, the savings may be lost.
    full = prod(results) >= 0.7 * each * _RESULTS[window] ** 2
    enough = tiles >= _MIN_TILES_PER_THREAD * threads and tiles * products >= _MIN_MULTIPLY_ADDS
    if not full or not enough or 36 * products * threads > _MAX_SCRATCH_FLOATS:
        return False
    return native.is_possible(_SOURCE)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    """Return the convolution `[N, K, H', W']`, in channels-last format.

    Args:
        x: images `[N, C, H, W]`.
        weight: `[K, C, 3, 3]` or `[K, C, 5, 5]`.
        bias: `[K]`, or None.
        padding: zeros around each image, (vertical, horizontal): less than the window's side.
    """
    return _convolution(x, weight, bias, padding)


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, of the weight and of the bias."""
    around = [weight.shape[-1] - 1 - zeros for zeros in padding]
    grad_x = _convolution(grad, weight.flip((2, 3)).transpose(0, 1), None, around)
    return grad_x, *_weight_gradient(grad, x, padding)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    y, zeros = _empty_results(x, weight, bias, padding), x.new_zeros(max(weight.shape[:2]))
    window = weight.shape[-1]
    windows = weight.permute(2, 3, 0, 1).unflatten(2, (-1, _PANEL)).transpose(3, 4)
    windows = _transform(window).to(x.dtype) @ windows.reshape(window**2, -1)
    added = zeros if bias is None else bias.contiguous()
    _run("convolve", window, x, y, padding, zeros, windows, added)
    return y


def _differentiate(grad: Tensor, x: Tensor, padding: Sequence[int]) -> tuple[Tensor, Tensor]:
    inputs, outputs, threads = x.shape[1], grad.shape[1], native.threads()
    window = _window(grad, x, padding)
    products, sums = x.new_zeros(threads, 36, inputs, outputs), x.new_zeros(threads, outputs)
    zeros = x.new_zeros(max(inputs, outputs))
    _run("differentiate", window, x, grad, padding, zeros, products, sums)
    windows = _transform(window).T.to(x.dtype) @ products.sum(0).view(36, -1)
    return windows.view(window, window, inputs, outputs).permute(3, 2, 0, 1), sums.sum(0)


def _run(
    name: str, window: int, x: Tensor, y: Tensor, padding: Sequence[int], *tensors: Tensor
) -> None:
    """Call a function of `winograd.cpp` with images `x`, padding, results `y`, and `tensors`."""
    library, threads = native.library(_SOURCE), native.threads()
    # `y` is in channels-last format already, so `contiguous` does not copy the output tensor.
    x, y = (images.contiguous(memory_format=torch.channels_last) for images in (x, y))
    (n, inputs, *of_x), (_, outputs, *of_y) = x.shape, y.shape
    grid = _tiles(of_y, window)
    sizes = [*of_x, inputs, *padding, *of_y, outputs, 0, 0, *grid, n * prod(grid), threads]
    scratch = x.new_empty(threads * library.scratch(inputs, outputs))
    native.call(library, f"{name}_{_RESULTS[window]}", sizes, x, y, *tensors, scratch)


@cache
def _transform(window: int) -> Tensor:
    """Return the paper's G for both sides: it maps the weights of a window to 36 numbers."""
    lines = [[scale * point**i for i in range(window)] for point, scale in _POINTS.items()]
    line = torch.tensor([*lines, [0.0] * (window - 1) + [1.0]], dtype=torch.float64)
    return torch.kron(line, line)


def _results(size: Sequence[int], window: int, padding: Sequence[int]) -> list[int]:
    return [side + 2 * zeros - window + 1 for side, zeros in zip(size, padding, strict=True)]


def _tiles(results: Sequence[int], window: int) -> list[int]:
    """Return the number of tiles of the results, (vertical, horizontal)."""
    return [-(-side // _RESULTS[window]) for side in results]


def _window(grad: Tensor, x: Tensor, padding: Sequence[int]) -> int:
    return x.shape[2] + 2 * padding[0] - grad.shape[2] + 1


def _empty_results(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]
) -> Tensor:
    shape = x.shape[0], weight.shape[0], *_results(x.shape[2:], weight.shape[-1], padding)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _empty_gradients(grad: Tensor, x: Tensor, padding: Sequence[int]) -> tuple[Tensor, Tensor]:
    inputs, outputs, window = x.shape[1], grad.shape[1], _window(grad, x, padding)
    windows = x.new_empty(window, window, inputs, outputs).permute(3, 2, 0, 1)
    return windows, x.new_empty(outputs)


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
