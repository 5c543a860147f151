"""Max pooling in training mode with library calls; see `fnet.operation`."""

from typing import Any

import torch
from torch import Tensor, nn

from fnet.operation import as_laid_out, is_plain, is_worth_a_call, operation
from fnet.trace import is_compiling


class MaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d`; opaque to the compiler while it trains on the CPU.

    It is left to the compiler where that is quicker: on few images that are not channels-last, or
    whose windows overlap.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima of the windows of `x` `[N, C, H, W]`."""
        window = [_pair(w) for w in (self.kernel_size, self.stride, self.padding, self.dilation)]
        if not self.training or x.ndim != 4 or not (is_worth_a_call(x) or _is_tiled(x, *window)):
            return super().forward(x)
        return _MaxPool.apply(x, *window, self.ceil_mode)[0]


def opaque_pool(layer: nn.Module) -> nn.Module | None:
    """Return what takes the place of an `nn.MaxPool2d`, else None."""
    if type(layer) is not nn.MaxPool2d or layer.return_indices:
        return None
    window = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    return MaxPool2d(*window, ceil_mode=layer.ceil_mode)


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _is_tiled(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> bool:
    """Say whether the windows cut channels-last images into tiles, in a compiled step."""
    return (
        is_compiling()
        and x.device.type == "cpu"
        and is_plain(x)
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
        and (stride, padding, dilation) == (kernel, [0, 0], [1, 1])
        and all(size % k == 0 for size, k in zip(x.shape[2:], kernel, strict=True))
    )


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
        if is_worth_a_call(x):
            grad_x = _backward(grad, x, places, *ctx.window)
        else:
            grad_x = _tiles(grad, places, *x.shape[2:])
        return grad_x, None, None, None, None, None


def _tiles(grad: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """Return the gradient of the maxima of tiles, in loops that join those of the layers around."""
    down, across = grad.shape[2:]
    tiles = torch.arange(height * width).view(down, height // down, across, width // across)
    is_place = places[:, :, :, None, :, None] == tiles
    return torch.where(is_place, grad[:, :, :, None, :, None], 0.0).flatten(4, 5).flatten(2, 3)


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
