"""LeNet-5 and the tutorial Net: they differ only in the padding of the first convolution."""

import torch
from torch import nn

from fnet.models.blocks import Activation, Size, classifier, grid_of
from fnet.nn import Model, from_module


def net(
    classes: int = 10,
    channels: int = 3,
    size: Size = 32,
    activation: Activation = nn.ReLU,
    linears: int = 3,
    softmax: bool = False,
) -> Model:
    """Return Net for images `[N, channels, H, W]`: 62,006 parameters at the defaults.

    The network of the tutorial experiment, the starting point of DaiNet7: two 5x5 convolutions
    without padding, each with activation and max pooling, then `linears` linear layers (1 to 3).
    `softmax` adds a softmax at the end, which is redundant if the loss has its own.

    `size` is the height and width of the images, or one number for both. The feature maps of images
    of more than 32 pixels are pooled to those of 32, so the linear layers do not grow.

    Raises:
        ValueError: a side is below 16, or `linears` is not 1 to 3.
    """
    return from_module(
        lambda: _module(classes, channels, size, 32, 0, activation, linears, softmax),
        memory_format=torch.channels_last,
    )


def lenet5(classes: int = 10, channels: int = 1, size: Size = 28) -> Model:
    """Return LeNet-5 for images `[N, channels, H, W]`: 61,706 parameters at the defaults.

    The network of the MNIST experiment, after LeCun et al. (1998), with ReLU and max pooling in
    place of the paper's scaled tanh and trainable subsampling.

    `size` is the height and width of the images, or one number for both. The feature maps of images
    of more than 28 pixels are pooled to those of 28, so the linear layers do not grow.

    Raises:
        ValueError: a side is below 12.
    """
    return from_module(
        lambda: _module(classes, channels, size, 28, 2, nn.ReLU, 3, False),
        memory_format=torch.channels_last,
    )


def _module(
    classes: int,
    channels: int,
    size: Size,
    author: int,
    padding: int,
    activation: Activation,
    linears: int,
    softmax: bool,
) -> nn.Module:
    grid = grid_of(
        size,
        lambda side: ((side + 2 * padding - 4) // 2 - 4) // 2,
        author=author,
        smallest=16 - 2 * padding,
    )
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding),
        activation(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        activation(),
        nn.MaxPool2d(2),
        *classifier(
            16,
            grid,
            classes,
            hidden=(120, 84),
            linears=linears,
            activation=activation,
            softmax=softmax,
        ),
    )
