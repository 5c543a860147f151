"""DaiNet7: six 3x3 convolutions of 64 to 256 channels, each ReLU then batch norm."""

import torch
from torch import nn

from fnet.models.blocks import Activation, MeanOfMap, Size, require_rates, require_size
from fnet.nn import Model, from_module

DAINET7_DROPOUT = (0.1, 0.1, 0.5, 0.5)
"""The author's dropout rates, after the first, second, fourth and fifth convolution."""


def dainet7(
    classes: int = 10,
    channels: int = 3,
    dropout: tuple[float, ...] = DAINET7_DROPOUT,
    activation: Activation = nn.ReLU,
    size: Size = 32,
) -> Model:
    """Return DaiNet7 for images `[N, channels, H, W]`: 1,149,770 parameters at the defaults.

    Its average pooling takes the whole map, 8 x 8 of the author's images of 32 x 32, so that images
    of any size fit; `size` is only checked.

    `dropout` has the rates after the first, second, fourth and fifth convolution; the author's
    are the default. The activation comes before batch norm, as in the original.

    Raises:
        ValueError: `dropout` does not have four rates, or a side of the images is below 4.
    """
    return from_module(
        lambda: _module(classes, channels, dropout, activation, size),
        memory_format=torch.channels_last,
    )


def _module(
    classes: int, channels: int, dropout: tuple[float, ...], activation: Activation, size: Size
) -> nn.Module:
    require_rates(dropout, 4)
    require_size(size, 4)
    first, second, third, fourth = dropout
    return nn.Sequential(
        *_convolution(channels, 64, activation),
        nn.Dropout(first),
        *_convolution(64, 64, activation),
        nn.MaxPool2d(2),
        nn.Dropout(second),
        *_convolution(64, 128, activation),
        *_convolution(128, 128, activation),
        nn.MaxPool2d(2),
        nn.Dropout(third),
        *_convolution(128, 256, activation),
        nn.Dropout(fourth),
        *_convolution(256, 256, activation),
        MeanOfMap(),
        nn.Flatten(),
        nn.Linear(256, classes),
    )


def _convolution(inputs: int, outputs: int, activation: Activation) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), activation(), nn.BatchNorm2d(outputs)]
