"""Building blocks of several architectures: convolution with batch norm, linear layers, a check."""

from collections.abc import Callable
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

Activation: TypeAlias = Callable[[], nn.Module]
"""Makes an activation layer: `nn.ReLU`, `nn.Tanh`, `lambda: nn.LeakyReLU(0.2)`."""


def convolution(
    inputs: int, outputs: int, kernel: int, *, padding: int, activation: Activation = nn.ReLU
) -> list[nn.Module]:
    """Return a convolution of stride 1, batch norm and activation, in this order."""
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding),
        nn.BatchNorm2d(outputs),
        activation(),
    ]


def classifier(
    maps: int,
    side: int,
    classes: int,
    *,
    hidden: tuple[int, ...] = (),
    linears: int | None = None,
    activation: Activation = nn.ReLU,
    softmax: bool = False,
) -> list[nn.Module]:
    """Return the layers from feature maps `[N, maps, side, side]` to logits `[N, classes]`.

    Linear layers of `hidden` outputs with an activation after each, then one of `classes`
    outputs. `linears` is the number of linear layers (default: all); with fewer, the last hidden
    ones are left out. With `softmax` the outputs are probabilities.

    Raises:
        ValueError: `side` is below 1 because the images are too small, or `linears` is not between
            1 and `len(hidden) + 1`.

    >>> [str(layer) for layer in classifier(16, 5, 10, hidden=(120, 84), linears=1)]
    ['Flatten(start_dim=1, end_dim=-1)', 'Linear(in_features=400, out_features=10, bias=True)']
    """
    if side < 1:
        raise ValueError(
            "the images are too small: after the last pooling no pixel is left for the linear "
            "layers; give a larger size"
        )
    most = len(hidden) + 1
    if linears is None:
        linears = most
    if not 1 <= linears <= most:
        raise ValueError(f"linears is {linears}, expected a number from 1 to {most}")
    layers: list[nn.Module] = [Flatten(side)]
    features = maps * side**2
    for width in hidden[: linears - 1]:
        layers += [nn.Linear(features, width), activation()]
        features = width
    layers.append(nn.Linear(features, classes))
    if softmax:
        layers.append(nn.Softmax(dim=1))
    return layers


class MeanOfMap(nn.Module):
    """Global average pooling of feature maps of any size: `[N, C, H, W]` to `[N, C, 1, 1]`.

    On a map of 8 x 8 the bits are those of `nn.AvgPool2d(8)`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return F.avg_pool2d(x, (x.shape[-2], x.shape[-1]))


class Flatten(nn.Flatten):
    """`nn.Flatten` of feature maps of one size; maps of another size are average-pooled to it.

    So that the linear layers behind it fit images of another size than they were made for, such as
    the smaller ones that a training may begin with.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return `[N, C * side * side]` of maps `[N, C, H, W]`."""
        grid = (self.side, self.side)
        return super().forward(x if x.shape[-2:] == grid else F.adaptive_avg_pool2d(x, grid))


def require_rates(dropout: tuple[float, ...], count: int) -> None:
    """Raise a ValueError unless `dropout` has `count` rates."""
    if len(dropout) != count:
        raise ValueError(
            f"dropout is {dropout}, expected {count} rates: one for each dropout layer"
        )
