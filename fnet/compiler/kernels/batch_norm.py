"""Batch norm in training mode as loops that a compiler makes quick ones of, on the CPU."""

from typing import Any

import torch
from torch import Tensor, nn

from fnet.nn.loops import has_own_way, in_memory


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, computed as is quickest while it trains, compiled for the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` `[N, C, H, W]` normalised; in training mode, update the running statistics."""
        if not has_own_way(self, x):
            return super().forward(x)
        n = x.numel() // self.num_features
        if x.shape[1] != self.num_features or n < 2:
            return super().forward(x)  # which says what is wrong
        y, mean, var, _ = _BatchNorm.apply(x, self.weight, self.bias, self.eps)
        for running, new in ((self.running_mean, mean), (self.running_var, var * (n / (n - 1)))):
            running.lerp_(new, self.momentum)  # type: ignore[union-attr, arg-type]
        return y


def own_norm(layer: nn.Module) -> nn.Module | None:
    """Return what takes the place of an `nn.BatchNorm2d` with weights and statistics, else None."""
    if type(layer) is not nn.BatchNorm2d or not (layer.affine and layer.track_running_stats):
        return None
    return BatchNorm2d(layer.num_features, layer.eps, layer.momentum, device="meta")


class _BatchNorm(torch.autograd.Function):
    """`(x, weight, bias, eps) -> (y, mean, biased variance, 1 / std)`, in fp32 at least but for y.

    What belongs to a channel is computed once: roots and quotients take longer than all else here.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        pixels, n = _pixels(x), x.numel() // x.shape[1]
        mean = in_memory(_sum(pixels) / n)
        centred = pixels - mean
        var = in_memory(_sum(centred * centred) / n)
        inverse_std = in_memory((var + eps).rsqrt())
        y = centred * in_memory(inverse_std * weight) + bias
        return _images(y, x), mean, var, inverse_std

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:2], output[1], output[3])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        n = x.numel() // x.shape[1]
        grads, centred = _pixels(grad), _pixels(x) - mean
        grad_bias = _sum(grads)
        grad_weight = in_memory(inverse_std * _sum(grads * centred))
        scale = in_memory(inverse_std * weight)
        slope = in_memory(scale * inverse_std * grad_weight / n)
        grad_x = grads * scale - centred * slope - in_memory(scale * grad_bias / n)
        return _images(grad_x, x), grad_weight, grad_bias, None


def _pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).to(torch.promote_types(x.dtype, torch.float32))


def _images(pixels: Tensor, like: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).to(like.dtype)


def _sum(pixels: Tensor) -> Tensor:
    """Return the sum `[C]` of `[N, H, W, C]`: first of each image, which threads can share."""
    return pixels.sum((1, 2)).sum(0)
