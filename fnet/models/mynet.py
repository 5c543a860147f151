"""Mynet: four 3x3 convolutions and a wide linear layer, Xavier-uniform weights."""

import torch
from torch import nn

from fnet.models.blocks import Size, classifier, convolution, grid_of
from fnet.nn import Initializer, Model, from_module, xavier_uniform


def mynet(
    classes: int = 10,
    channels: int = 3,
    size: Size = 32,
    init: Initializer | None = xavier_uniform(),  # noqa: B008 - a pure function
) -> Model:
    """Return Mynet for images `[N, channels, H, W]`: 5,499,434 parameters at the defaults.

    The network of the reduce-on-plateau experiment. Its max pooling pads by one pixel, so that a
    side of 32 becomes 17, then 9. By default the weights are Xavier-uniform and the biases zero,
    as in the original; with `init=None` the layers use their own initialisers.

    `size` is the height and width of the images, or one number for both. The feature maps of images
    of more than 32 pixels are pooled to those of 32, so the linear layers do not grow.
    """
    return from_module(
        lambda: _module(classes, channels, size), init=init, memory_format=torch.channels_last
    )


def _module(classes: int, channels: int, size: Size) -> nn.Module:
    grid = grid_of(size, lambda side: (side // 2 + 1) // 2 + 1, author=32, smallest=1)
    return nn.Sequential(
        *convolution(channels, 64, 3, padding=1),
        *convolution(64, 128, 3, padding=1),
        nn.MaxPool2d(2, padding=1),
        *convolution(128, 64, 3, padding=1),
        *convolution(64, 32, 3, padding=1),
        nn.MaxPool2d(2, padding=1),
        *classifier(32, grid, classes, hidden=(2048,)),
    )
