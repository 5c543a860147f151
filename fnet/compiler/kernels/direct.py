"""Direct kernels for small convolutions and their gradients, without im2col.

For a small convolution, the overhead of a library call is longer than the computation. `direct.cpp`
computes neighbouring outputs of a row in SIMD lanes, reads images and weights of any strides, and
is called from compiled code, without the Python interpreter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fnet.compiler.kernels import native
from fnet.opaque import operation

_SOURCE = "direct.cpp"
# The window widths for which `direct.cpp` is compiled, and the dtypes.
_WIDTHS, _DTYPES = (3, 5), (torch.float32, torch.float64, torch.bfloat16)
# SIMD lanes: eight outputs of one row cost as much as one.
_LANES = 8
# The largest number of multiply-adds for which a library call takes longer.
_MAX_MULTIPLY_ADDS = 4_000_000


def is_worth_it(x: Tensor, weight: Tensor, padding: Sequence[int]) -> bool:
    """Return whether `convolution` and `backward` are faster than the library."""
    window, (height, width) = weight.shape[2:], _results(x, weight, padding)
    if x.shape[1] != weight.shape[1] or x.dtype not in _DTYPES or weight.dtype != x.dtype:
        return False
    if min(height, width) < 1 or any(z >= side for z, side in zip(padding, window, strict=True)):
        return False
    small = x.shape[0] * height * max(width, _LANES) * weight.numel() <= _MAX_MULTIPLY_ADDS
    return small and window[1] in _WIDTHS and native.is_possible(_SOURCE)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    """Return the convolution `[N, K, H', W']`, contiguous.

    Args:
        x: images `[N, C, H, W]`.
        weight: `[K, C, kH, kW]`, with `kW` 3 or 5.
        bias: `[K]`, or None.
        padding: zeros around each image, (vertical, horizontal): less than the window's sides.

    For bfloat16 it computes in float32, and rounds the result. Call `is_worth_it` before, which
    compiles the kernel.
    """
    dtype = _computed_in(x)
    added = weight.new_zeros(weight.shape[0]) if bias is None else bias.contiguous()
    x_weight_bias = (tensor.to(dtype) for tensor in (x, weight, added))
    return _convolution(*x_weight_bias, *padding, native.threads()).to(x.dtype)


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, of the weight (with its strides) and of the bias."""
    # The weight gradient takes the weight's strides, so the weight must not be expanded (stride 0).
    if torch.empty_like(weight).stride() != weight.stride():
        weight = weight.contiguous()
    dtype, sizes = _computed_in(x), (*padding, native.threads())
    grad, images, windows = (tensor.to(dtype) for tensor in (grad, x, weight))
    grad_x = _input_gradient(grad, windows, *sizes)
    grad_weight, grad_bias = _weight_gradient(grad, images, windows, *sizes)
    return grad_x.to(x.dtype), grad_weight.to(x.dtype), grad_bias.to(x.dtype)


def _computed_in(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _results(x: Tensor, weight: Tensor, padding: Sequence[int]) -> list[int]:
    sides = zip(x.shape[2:], weight.shape[2:], padding, strict=True)
    return [side + 2 * zeros - window + 1 for side, window, zeros in sides]


def _like_results(x: Tensor, weight: Tensor, bias: Tensor, *sizes: int) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *_results(x, weight, sizes[:2]))


def _like_input(grad: Tensor, weight: Tensor, *sizes: int) -> Tensor:
    turned = zip(weight.shape[2:], sizes[:2], strict=True)
    around = [window - 1 - zeros for window, zeros in turned]
    return grad.new_empty(grad.shape[0], weight.shape[1], *_results(grad, weight, around))


def _like_weight(grad: Tensor, x: Tensor, weight: Tensor, *sizes: int) -> tuple[Tensor, Tensor]:
    return weight.new_empty_strided(weight.shape, weight.stride()), x.new_empty(weight.shape[0])


# The rows and columns of zeros around x, and the number of threads.
_SIZES = "int above, int before, int threads"
_convolution = operation(
    "direct",
    f"(Tensor x, Tensor weight, Tensor bias, {_SIZES}) -> Tensor",
    fake=_like_results,
    kernel=native.loading(_SOURCE, "direct"),
)
_input_gradient = operation(
    "direct_input_gradient",
    f"(Tensor grad, Tensor weight, {_SIZES}) -> Tensor",
    fake=_like_input,
    kernel=native.loading(_SOURCE, "direct_input_gradient"),
)
_weight_gradient = operation(
    "direct_weight_gradient",
    f"(Tensor grad, Tensor x, Tensor weight, {_SIZES}) -> (Tensor, Tensor)",
    fake=_like_weight,
    kernel=native.loading(_SOURCE, "direct_weight_gradient"),
)
