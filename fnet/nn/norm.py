"""Batch norm in training mode as one library call; see `fnet.operation`."""

from typing import Any

import torch
from torch import Tensor, nn

from fnet.operation import as_laid_out, is_worth_a_call, operation


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`; on large images opaque to the compiler while it trains on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` `[N, C, H, W]` normalised; in training mode, update the running statistics."""
        if not self.training or not is_worth_a_call(x):
            return super().forward(x)
        own = self.weight, self.bias, self.running_mean, self.running_var
        y, mean, var, *_ = _BatchNorm.apply(x, *own, self.momentum, self.eps)
        self.running_mean.copy_(mean)  # type: ignore[union-attr]
        self.running_var.copy_(var)  # type: ignore[union-attr]
        return y


def opaque_norm(layer: nn.Module) -> nn.Module | None:
    """Return what takes the place of an `nn.BatchNorm2d` with weights and statistics, else None."""
    if type(layer) is not nn.BatchNorm2d or not (layer.affine and layer.track_running_stats):
        return None
    return BatchNorm2d(layer.num_features, layer.eps, layer.momentum, device="meta")


class _BatchNorm(torch.autograd.Function):
    """`(x, weight, bias, mean, var, momentum, eps) -> (y, new mean, new var, own mean, 1 / std)`.

    The results of `torch.nn.functional.batch_norm` in training mode, and what its gradient needs.
    """

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _forward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, *_, eps = inputs
        ctx.save_for_backward(x, weight, *output[3:])
        ctx.eps = eps

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return *_backward(grad, *ctx.saved_tensors, ctx.eps), None, None, None, None


def _compute(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, ...]:
    mean, var = mean.clone(), var.clone()
    y, *own = torch.native_batch_norm(x, weight, bias, mean, var, True, momentum, eps)
    return as_laid_out(y, x), mean, var, *own


def _compute_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse_std: Tensor, eps: float
) -> tuple[Tensor, ...]:
    grad_x, *others = torch.ops.aten.native_batch_norm_backward(
        as_laid_out(grad, x), x, weight, None, None, mean, inverse_std, True, eps, [True] * 3
    )
    return as_laid_out(grad_x, x), *others


_forward = operation(
    "batch_norm",
    "(Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor var, float momentum, float eps) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    kernel=_compute,
    fake=lambda x, weight, bias, mean, *_: (
        torch.empty_like(x),
        *[torch.empty_like(mean) for _ in range(4)],
    ),
)
_backward = operation(
    "batch_norm_backward",
    "(Tensor grad, Tensor x, Tensor weight, Tensor mean, Tensor inverse_std, float eps) "
    "-> (Tensor, Tensor, Tensor)",
    kernel=_compute_backward,
    fake=lambda grad, x, weight, *_: (
        torch.empty_like(x),
        torch.empty_like(weight),
        torch.empty_like(weight),
    ),
)
