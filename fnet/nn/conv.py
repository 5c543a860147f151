"""Convolutions that a step compiled for the CPU computes in another way than the library."""

from torch import Tensor, nn

from fnet.nn import direct, winograd
from fnet.nn.loops import is_for_cpu


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` of stride 1, computed as is quickest where it is compiled for the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x` `[N, C, H, W]`."""
        mixed = self.bias is not None and self.bias.dtype != x.dtype
        if mixed or not is_for_cpu(x):
            return super().forward(x)
        padding = [*map(int, self.padding)]
        for own in (direct, winograd):
            if own.is_worth_it(x, self.weight, padding):
                return own.convolution(x, self.weight, self.bias, padding)
        return super().forward(x)


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
