"""DaiNet and DaiNet1: two or three convolutions, dropout before batch norm, linear layers."""

import torch
from torch import nn

from fnet.models.blocks import Activation, Size, classifier, convolution, grid_of, require_rates
from fnet.nn import Model, from_module

_BLOCKS = ((12, 5), (24, 3), (12, 3))
"""Channels and kernel of each block's convolution; DaiNet has the first two."""


def dainet(
    classes: int = 10,
    channels: int = 3,
    size: Size = 32,
    dropout: tuple[float, ...] = (0.5, 0.0),
    activation: Activation = nn.ReLU,
    linears: int = 3,
    softmax: bool = False,
    deeper: bool = False,
) -> Model:
    """Return DaiNet for images `[N, channels, H, W]`: 212,022 parameters at the defaults.

    A reconstruction: DaiNet is the first step from Net to DaiNet7, and only its first block is
    known. The second block and the linear layers are those of `dainet1`. The arguments are those of
    `dainet1`, with two rates in `dropout`.

    With `deeper` it is "DaiNet with one more convolution", 217,278 parameters. It is not known
    which one: here a second convolution of 24 channels, with batch norm and activation, before the
    second block's pooling.

    Raises:
        ValueError: a side is below 4, `linears` is not 1 to 3, or `dropout` does not have two
            rates.
    """
    return from_module(
        lambda: _module(2, classes, channels, size, dropout, activation, linears, softmax, deeper),
        memory_format=torch.channels_last,
    )


def dainet1(
    classes: int = 10,
    channels: int = 3,
    size: Size = 32,
    dropout: tuple[float, ...] = (0.5, 0.0, 0.0),
    activation: Activation = nn.ReLU,
    linears: int = 3,
    softmax: bool = False,
) -> Model:
    """Return DaiNet1 for images `[N, channels, H, W]`: 42,618 parameters at the defaults.

    A step from Net to DaiNet7: three blocks of convolution, dropout, batch norm, activation and
    max pooling, then `linears` linear layers (1 to 3). `dropout` has a rate for each block; the
    default drops in the first block only, `(0.5, 0.5, 0.5)` drops in every block. `softmax` adds a
    softmax at the end, which is redundant if the loss has its own.

    `size` is the height and width of the images, or one number for both. The feature maps of images
    of more than 32 pixels are pooled to those of 32, so the linear layers do not grow.

    Raises:
        ValueError: a side is below 8, `linears` is not 1 to 3, or `dropout` does not have three
            rates.
    """
    return from_module(
        lambda: _module(3, classes, channels, size, dropout, activation, linears, softmax),
        memory_format=torch.channels_last,
    )


def _module(
    blocks: int,
    classes: int,
    channels: int,
    size: Size,
    dropout: tuple[float, ...],
    activation: Activation,
    linears: int,
    softmax: bool,
    deeper: bool = False,
) -> nn.Module:
    require_rates(dropout, blocks)
    grid = grid_of(size, lambda side: side // 2**blocks, author=32, smallest=2**blocks)
    layers: list[nn.Module] = []
    for (width, kernel), rate in zip(_BLOCKS[:blocks], dropout, strict=True):
        layers += [
            nn.Conv2d(channels, width, kernel, padding=kernel // 2),
            nn.Dropout(rate),
            nn.BatchNorm2d(width),
            activation(),
            nn.MaxPool2d(2),
        ]
        channels = width
    if deeper:
        layers[-1:-1] = convolution(channels, channels, 3, padding=1, activation=activation)
    return nn.Sequential(
        *layers,
        *classifier(
            channels,
            grid,
            classes,
            hidden=(128, 84),
            linears=linears,
            activation=activation,
            softmax=softmax,
        ),
    )
