"""Max pooling in training mode as one library call; see `fnet.operation`."""

from typing import Any

import torch
from torch import Tensor, nn

from fnet.operation import as_laid_out, is_worth_a_call, operation


class MaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d`; on large images opaque to the compiler while it trains on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima of the windows of `x` `[N, C, H, W]`."""
        if not self.training or x.ndim != 4 or not is_worth_a_call(x):
            return super().forward(x)
        window = [_pair(w) for w in (self.kernel_size, self.stride, self.padding, self.dilation)]
        return _MaxPool.apply(x, *window, self.ceil_mode)[0]


def opaque_pool(layer: nn.Module) -> nn.Module | None:
    """Return what takes the place of an `nn.MaxPool2d`, else None."""
    if type(layer) is not nn.MaxPool2d or layer.return_indices:
        return None
    window = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    return MaxPool2d(*window, ceil_mode=layer.ceil_mode)


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


class _MaxPool(torch.autograd.Function):
    """`(x, kernel, stride, padding, dilation, ceil_mode) -> (maxima, their places)`."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        return _forward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(inputs[0], output[1])
        ctx.window = inputs[1:]
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, places = ctx.saved_tensors
        return _backward(grad, x, places, *ctx.window), None, None, None, None, None


def _compute_backward(grad: Tensor, x: Tensor, places: Tensor, *window: Any) -> Tensor:
    grad_x = torch.ops.aten.max_pool2d_with_indices_backward(grad, x, *window, places)
    return as_laid_out(grad_x, x)


_WINDOW = "int[] kernel, int[] stride, int[] padding, int[] dilation, bool ceil_mode"
_forward = operation(
    "max_pool2d",
    f"(Tensor x, {_WINDOW}) -> (Tensor, Tensor)",
    kernel=torch.ops.aten.max_pool2d_with_indices.default,
    fake=torch.ops.aten.max_pool2d_with_indices.default,
)
_backward = operation(
    "max_pool2d_backward",
    f"(Tensor grad, Tensor x, Tensor places, {_WINDOW}) -> Tensor",
    kernel=_compute_backward,
    fake=lambda grad, x, *_: torch.empty_like(x),
)
