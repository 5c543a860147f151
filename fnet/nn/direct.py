"""Convolutions that are small or of few channels, and their gradients, without copies of windows.

A library call for a small convolution takes longer to start than to compute, and one for images of
a few channels leaves most of a register empty. `direct.cpp` has results that lie beside each other
in a register, whatever the channels are, and writes nothing in between.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fnet import native
from fnet.operation import operation

# The widths of windows that `direct.cpp` is compiled for.
_WIDTHS = 3, 5
# Multiply-adds up to which a library call takes longer, for images of any channels, and channels up
# to which it does for any images.
_SMALL, _FEW = 4_000_000, 4


def is_worth_it(x: Tensor, weight: Tensor, padding: Sequence[int]) -> bool:
    """Say whether `convolution` takes less time than the library does."""
    window = weight.shape[2:]
    results = _results(x, weight, padding)
    if x.shape[1] != weight.shape[1] or window[1] not in _WIDTHS or min(results) < 1:
        return False
    if not x.dtype == weight.dtype == torch.float32:
        return False
    inside = all(zeros < side for zeros, side in zip(padding, window, strict=True))
    small = len(x) * results[0] * results[1] * weight.numel() <= _SMALL
    return inside and (small or x.shape[1] <= _FEW) and native.is_possible()


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    """Return the convolution `[N, K, H', W']`.

    Args:
        x: images `[N, C, H, W]`.
        weight: `[K, C, kH, kW]`, with `kW` 3 or 5.
        bias: `[K]`, or None.
        padding: zeros around each image, down and across: less than a window's sides.
    """
    native.install("fnet.nn", "direct.cpp")
    added = weight.new_zeros(len(weight)) if bias is None else bias.contiguous()
    return _Convolution.apply(x, weight, added, *padding, torch.get_num_threads())


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, *sizes: int) -> Tensor:
        return _convolution(x, weight, bias, *sizes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, *ctx.sizes = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x = _input_gradient(grad, weight, *ctx.sizes)
        return grad_x, *_weight_gradient(grad, x, weight, *ctx.sizes), None, None, None


def _results(x: Tensor, weight: Tensor, padding: Sequence[int]) -> list[int]:
    sides = zip(x.shape[2:], weight.shape[2:], padding, strict=True)
    return [side + 2 * zeros - window + 1 for side, window, zeros in sides]


def _like_results(x: Tensor, weight: Tensor, bias: Tensor, *sizes: int) -> Tensor:
    return x.new_empty(len(x), len(weight), *_results(x, weight, sizes[:2]))


def _like_input(grad: Tensor, weight: Tensor, *sizes: int) -> Tensor:
    turned = zip(weight.shape[2:], sizes[:2], strict=True)
    around = [window - 1 - zeros for window, zeros in turned]
    return grad.new_empty(len(grad), weight.shape[1], *_results(grad, weight, around))


def _like_weight(grad: Tensor, x: Tensor, weight: Tensor, *sizes: int) -> tuple[Tensor, Tensor]:
    return weight.new_empty_strided(weight.shape, weight.stride()), x.new_empty(len(weight))


# The rows and columns of zeros around x, and threads.
_SIZES = "int above, int before, int threads"
_convolution = operation(
    "direct", f"(Tensor x, Tensor weight, Tensor bias, {_SIZES}) -> Tensor", fake=_like_results
)
_input_gradient = operation(
    "direct_input_gradient", f"(Tensor grad, Tensor weight, {_SIZES}) -> Tensor", fake=_like_input
)
_weight_gradient = operation(
    "direct_weight_gradient",
    f"(Tensor grad, Tensor x, Tensor weight, {_SIZES}) -> (Tensor, Tensor)",
    fake=_like_weight,
)
