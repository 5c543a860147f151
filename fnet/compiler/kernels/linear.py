"""Linear layers of a few rows in training mode, compiled for the CPU: their gradients as loops."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fnet.nn.loops import is_compiled_for_cpu

# Rows up to which the compiler writes out the sum over them, and joins it to an optimizer's loop.
_FEW = 7


class Linear(nn.Linear):
    """`nn.Linear`, computed as is quickest while it trains, compiled for the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the linear function of `x` `[N, inputs]`."""
        few = x.ndim == 2 and len(x) <= _FEW
        if self.training and few and is_compiled_for_cpu(x):
            y = _Product.apply(x, self.weight)
            return y if self.bias is None else y + self.bias
        return super().forward(x)


def own_linear(layer: nn.Module) -> nn.Module | None:
    """Return what takes the place of an `nn.Linear`, else None."""
    if type(layer) is not nn.Linear:
        return None
    return Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")


class _Product(torch.autograd.Function):
    """`(x [N, inputs], weight [outputs, inputs]) -> y [N, outputs]`."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return grad @ weight, (grad[:, :, None] * x[:, None, :]).sum(0)
