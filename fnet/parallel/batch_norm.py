"""Batch norm with the statistics of the global batch, in any network, while a function mode is on.

The result is that of one process on the whole batch up to rounding, forward and backward, also if
the processes have different numbers of samples. As `torch.nn.SyncBatchNorm`, which exists for CUDA
devices only, is a layer to put into the network, and weights all processes the same in backward.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fnet.parallel.collective import refuse_vmap, sum_over_processes

_STATISTICS, _AFFINE = ("running_mean", "running_var"), ("weight", "bias")
_PARAMETERS: dict[Callable[..., Any], tuple[str, ...]] = {
    functional.batch_norm: ("input", *_STATISTICS, *_AFFINE, "training", "momentum", "eps"),
    torch.batch_norm: ("input", *_AFFINE, *_STATISTICS, "training", "momentum", "eps"),
}
"""The names of the arguments by place; the defaults are those of `functional.batch_norm`."""


class SyncBatchNorm(TorchFunctionMode):
    """The mode: batch norm in training mode is synchronized, every other function is PyTorch's.

    Args:
        count: the sum of the weights of this process's samples, 0-d: the loss that is
            differentiated is a mean over these.
        rank: the rank of this process.
        size: the number of processes.
    """

    def __init__(self, count: Tensor, rank: int, size: int) -> None:
        super().__init__()
        self._count, self._rank, self._size = count, rank, size

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return `func(*args, **kwargs)`, synchronized if it is batch norm in training mode."""
        given = dict(zip(_PARAMETERS.get(func, ()), args, strict=False)) | (kwargs or {})
        if func not in _PARAMETERS or not given.get("training", False):
            return func(*args, **(kwargs or {}))
        x, affine = given["input"], (given.get("weight"), given.get("bias"))
        running = (given.get("running_mean"), given.get("running_var"))
        momentum, eps = given.get("momentum", 0.1), given.get("eps", 1e-5)
        y, mean, var, *_, n = _Normalised.apply(
            x, *affine, self._count, self._rank, self._size, eps
        )
        for old, new in zip(running, (mean, var * (n / (n - 1))), strict=True):
            if old is not None:
                old.lerp_(new.detach().to(old.dtype), momentum)
        return y


class _Normalised(torch.autograd.Function):
    """Of x `[N, C, ...]`: y; mean, biased variance, 1 / std `[C]`; share, pixels per channel 0-d.

    `share` is this process's part of the summed weights. The loss on each process is the mean over
    its own samples, and their mean weighted by the shares is the loss of the global batch. So
    gradients are multiplied by the share before they are summed over processes, and the result is
    divided by it.
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        count: Tensor,
        rank: int,
        size: int,
        eps: float,
    ) -> tuple[Tensor, ...]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        n = x.numel() // x.shape[1]
        own_mean = _over_pixels(wide) / n
        deviations = _over_pixels((wide - _per_channel(own_mean, x)).square())
        facts = torch.stack([wide.new_full((), n), count.to(wide.dtype)])
        row = torch.cat([facts, own_mean, deviations])
        # One sum, of vectors that are 0 in the rows of the others, collects those of all.
        rows = row.new_zeros(size, len(row))
        rows[rank] = row
        (rows,) = sum_over_processes(rows)
        counts, (means, squares) = rows[:, :2], rows[:, 2:].reshape(size, 2, -1).unbind(1)
        total, weights = counts.sum(0)
        mean = (counts[:, :1] * means).sum(0) / total
        # Chan, Golub, LeVeque 1979: stable, unlike the difference of mean squares.
        var = (squares + counts[:, :1] * (means - mean).square()).sum(0) / total
        inverse_std = (var + eps).rsqrt()
        y = (wide - _per_channel(mean, x)) * _per_channel(inverse_std, x)
        if weight is not None:
            y = y * _per_channel(weight, x)
        if bias is not None:
            y = y + _per_channel(bias, x)
        return y.to(x.dtype), mean, var, inverse_std, counts[rank, 1] / weights, total.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, bias = inputs[:3]
        _, mean, _, *scalars = output
        ctx.save_for_backward(x, weight, bias, mean, *scalars)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse_std, share, total = ctx.saved_tensors
        grads = grad.to(mean.dtype)
        normal = (x.to(mean.dtype) - _per_channel(mean, x)) * _per_channel(inverse_std, x)
        grad_bias, grad_weight = _over_pixels(grads), _over_pixels(grads * normal)
        (sums,) = sum_over_processes(share * torch.stack([grad_bias, grad_weight]))
        mean_grad, slope = (_per_channel(each, x) for each in (sums / (total * share)).unbind())
        scale = inverse_std if weight is None else inverse_std * weight
        grad_x = _per_channel(scale, x) * (grads - mean_grad - normal * slope)
        return (
            grad_x.to(x.dtype),
            None if weight is None else grad_weight.to(weight.dtype),
            None if bias is None else grad_bias.to(bias.dtype),
            *[None] * 4,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> None:
        refuse_vmap()


def _over_pixels(x: Tensor) -> Tensor:
    """Return the sums `[C]` of x `[N, C, ...]`."""
    return x.sum([dim for dim in range(x.ndim) if dim != 1])


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Return values `[C]` in a shape that broadcasts against `[N, C, ...]`."""
    return values.reshape(1, -1, *[1] * (like.ndim - 2))
