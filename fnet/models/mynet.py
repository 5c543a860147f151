"""Mynet: four 3x3 convolutions and a wide linear layer, Xavier-uniform weights."""

import torch
from torch import nn

from fnet.models.blocks import classifier, convolution
from fnet.nn import Initializer, Model, from_module, xavier_uniform


def mynet(
    classes: int = 10,
    channels: int = 3,
    size: int = 32,
    init: Initializer | None = xavier_uniform(),  # noqa: B008 - a pure function
) -> Model:
    """Return Mynet for images `[N, channels, size, size]`: 5,499,434 parameters at the defaults.

    The network of the reduce-on-plateau experiment. Its max pooling pads by one pixel, so that a
    side of 32 becomes 17, then 9. By default the weights are Xavier-uniform and the biases zero,
    as in the original; with `init=None` the layers use their own initialisers.
    """
    return from_module(
        lambda: _module(classes, channels, size), init=init, memory_format=torch.channels_last
    )


def _module(classes: int, channels: int, size: int) -> nn.Module:
    side = (size // 2 + 1) // 2 + 1
    return nn.Sequential(
        *convolution(channels, 64, 3, padding=1),
        *convolution(64, 128, 3, padding=1),
        nn.MaxPool2d(2, padding=1),
        *convolution(128, 64, 3, padding=1),
        *convolution(64, 32, 3, padding=1),
        nn.MaxPool2d(2, padding=1),
        *classifier(32, side, classes, hidden=(2048,)),
    )
