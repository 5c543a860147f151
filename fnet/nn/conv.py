"""Convolutions that a step compiled for the CPU computes in another way than the library.

While it trains, small ones are matrix products: a library call takes longer to start than to
compute. Large ones of 3 x 3 or 5 x 5 windows are computed by `fnet.nn.winograd`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fnet.nn import winograd
from fnet.nn.loops import is_for_cpu
from fnet.operation import operation

# Multiply-adds up to which the product was the quicker one, with windows of 5 x 5.
_SMALL = 4_000_000


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` of stride 1, computed as is quickest where it is compiled for the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x` `[N, C, H, W]`."""
        if not is_for_cpu(x):
            return super().forward(x)
        padding = [*map(int, self.padding)]
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] * self.weight.numel() <= _SMALL:
            return self._product(x, padding)
        if winograd.is_worth_it(x, self.weight, padding):
            return winograd.convolution(x, self.weight, self.bias, padding)
        return super().forward(x)

    def _product(self, x: Tensor, padding: list[int]) -> Tensor:
        down, right = padding
        x = functional.pad(x, (right, right, down, down)).contiguous()
        places = [size - k + 1 for size, k in zip(x.shape[2:], self.kernel_size, strict=True)]
        y = self.weight.flatten(1) @ _Columns.apply(x, self.kernel_size)
        y = y.unflatten(1, (len(x), *places)).transpose(0, 1)
        return (y if self.bias is None else y + self.bias[:, None, None]).contiguous()


def own_conv(layer: nn.Module) -> nn.Module | None:
    """Return what takes the place of an `nn.Conv2d` of stride 1 that pads with zeros, else None."""
    if type(layer) is not nn.Conv2d or isinstance(layer.padding, str):
        return None
    plain = layer.stride == layer.dilation == (1, 1) and layer.groups == 1
    if not plain or layer.padding_mode != "zeros":
        return None
    return Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        bias=layer.bias is not None,
        device="meta",
    )


class _Columns(torch.autograd.Function):
    """The windows of `x` `[N, C, H, W]` as the columns of a matrix `[C * kH * kW, N * H' * W']`."""

    @staticmethod
    def forward(x: Tensor, window: tuple[int, int]) -> Tensor:
        return _columns(x, window)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.window = inputs
        ctx.shape = x.shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (n, channels, height, width), (high, wide) = ctx.shape, ctx.window
        below, beside = height - high + 1, width - wide + 1
        shares = grad.reshape(channels, high, wide, n, below, beside)
        # Each place in the window adds its share to the pixels that it looked at.
        grad_x = [
            functional.pad(shares[:, i, j], (j, wide - 1 - j, i, high - 1 - i))
            for i in range(high)
            for j in range(wide)
        ]
        return sum(grad_x[1:], grad_x[0]).transpose(0, 1), None


def _compute(x: Tensor, window: Sequence[int]) -> Tensor:
    (n, channels, height, width), (high, wide) = x.shape, window
    per_image, per_channel, per_row, per_pixel = x.stride()
    windows = x.as_strided(
        (channels, high, wide, n, height - high + 1, width - wide + 1),
        (per_channel, per_row, per_pixel, per_image, per_row, per_pixel),
    )
    columns = windows.clone(memory_format=torch.contiguous_format)
    return columns.view(channels * high * wide, -1)


# Opaque: a compiler would work out the pixels anew for each window that they are in.
_columns = operation(
    "columns", "(Tensor x, int[] window) -> Tensor", kernel=_compute, fake=_compute
)
