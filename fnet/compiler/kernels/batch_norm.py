"""Batch norm in training mode on the CPU, as operations that Inductor compiles to fast loops.

Inductor decomposes batch norm before a graph pass sees it. So
`fnet.compiler.kernels.tracing.Tracing` replaces it while a function is traced.
"""

from typing import Any

import torch
from torch import Tensor

from fnet.compiler.kernels.derivatives import differentiated, has_tangent
from fnet.compiler.kernels.loops import materialized


def is_worth_it(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
) -> bool:
    """Return whether `batch_norm` is faster than the library, with the same result."""
    of_channels = (running_mean, running_var, weight, bias)
    # The library rounds otherwise if the parameters or statistics are bfloat16.
    kind = (x.shape[1],), torch.promote_types(x.dtype, torch.float32)
    return (
        training
        and all(leaf is not None and (leaf.shape, leaf.dtype) == kind for leaf in of_channels)
        and x.numel() >= 2 * x.shape[1]
    )


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    """Return `x` `[N, C, H, W]` normalised; update the running statistics in place."""
    n = x.numel() // x.shape[1]
    # Plain operations have all derivatives, but only `_BatchNorm` has a fast backward.
    forward_mode = any(map(has_tangent, (x, weight, bias)))
    apply = _normalised if forward_mode else _BatchNorm.apply
    y, mean, var, _ = apply(x, weight, bias, eps)
    for running, new in ((running_mean, mean), (running_var, var * (n / (n - 1)))):
        running.lerp_(new.detach(), momentum)
    return y


class _BatchNorm(torch.autograd.Function):
    """`_normalised` with a backward that reads the saved statistics."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        return _normalised(x, weight, bias, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:2], output[1], output[3])
        ctx.eps = inputs[3]
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *saved = ctx.saved_tensors

        def reference(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
            _, mean, _, inverse_std = _statistics(x, ctx.eps)
            return _gradients(grad, x, weight, mean, inverse_std)

        return *differentiated(_gradients, reference, (grad, x, weight), saved), None


def _normalised(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
    """Return y; and per channel mean, biased variance and 1 / std, which are at least float32.

    Values per channel are computed once (`materialized`), because square roots and divisions take
    longer than everything else here.
    """
    centred, mean, var, inverse_std = _statistics(x, eps)
    y = centred * materialized(inverse_std * weight) + bias
    return _images(y, x), mean, var, inverse_std


def _statistics(x: Tensor, eps: float) -> tuple[Tensor, ...]:
    """Return `x` minus its mean, as pixels; and per channel mean, biased variance and 1 / std."""
    pixels, n = _pixels(x), x.numel() // x.shape[1]
    mean = materialized(_sum(pixels) / n)
    centred = pixels - mean
    var = materialized(_sum(centred * centred) / n)
    return centred, mean, var, materialized((var + eps).rsqrt())


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse_std: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients with respect to x, weight and bias."""
    n = x.numel() // x.shape[1]
    grads, centred = _pixels(grad), _pixels(x) - mean
    grad_bias = _sum(grads)
    grad_weight = materialized(inverse_std * _sum(grads * centred))
    scale = materialized(inverse_std * weight)
    slope = materialized(scale * inverse_std * grad_weight / n)
    grad_x = grads * scale - centred * slope - materialized(scale * grad_bias / n)
    return _images(grad_x, x), grad_weight, grad_bias


def _pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).to(torch.promote_types(x.dtype, torch.float32))


def _images(pixels: Tensor, like: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).to(like.dtype)


def _sum(pixels: Tensor) -> Tensor:
    """Return the sum `[C]` of `[N, H, W, C]`: first per image, so that threads can share it."""
    return pixels.sum((1, 2)).sum(0)
