"""CNN and CNNpro: two or three blocks of 5x5 convolution, batch norm, ReLU and max pooling."""

import torch
from torch import nn

from fnet.models.blocks import classifier, convolution
from fnet.nn import Model, from_module


def cnn(classes: int = 10, channels: int = 3, size: int = 32) -> Model:
    """Return CNN for images `[N, channels, size, size]`: 34,634 parameters at the defaults.

    The network of the padded CIFAR-10 experiment: blocks of 16 and 32 channels, one linear layer.
    Its experiment on the grey faces of FER2013 is `cnn(classes=7, channels=1, size=48)`.

    Raises:
        ValueError: `size` is below 4.
    """
    return from_module(
        lambda: _module(classes, channels, size, (16, 32)), memory_format=torch.channels_last
    )


def cnnpro(classes: int = 10, channels: int = 3, size: int = 32) -> Model:
    """Return CNNpro for images `[N, channels, size, size]`: 75,786 parameters at the defaults.

    CNN with a third block, of 64 channels.

    Raises:
        ValueError: `size` is below 8.
    """
    return from_module(
        lambda: _module(classes, channels, size, (16, 32, 64)), memory_format=torch.channels_last
    )


def _module(classes: int, channels: int, size: int, widths: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [*convolution(channels, width, 5, padding=2), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*layers, *classifier(channels, size // 2 ** len(widths), classes))
