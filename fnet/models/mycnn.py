"""MyCNN: three small convolutions with batch norm and leaky ReLU, one linear layer."""

from functools import partial

import torch
from torch import nn

from fnet.models.blocks import Size, classifier, convolution, grid_of
from fnet.nn import Model, from_module


def mycnn(classes: int = 10, channels: int = 1, size: Size = 28) -> Model:
    """Return MyCNN for images `[N, channels, H, W]`: 8,110 parameters at the defaults.

    The second network of the MNIST experiment. Its first convolution pads by two, so that a side
    of 28 becomes 30, and then 15, 7 and 3 after the three max poolings. Leaky ReLU has slope 0.2.

    `size` is the height and width of the images, or one number for both. The feature maps of images
    of more than 28 pixels are pooled to those of 28, so the linear layers do not grow.

    Raises:
        ValueError: a side is below 6.
    """
    return from_module(lambda: _module(classes, channels, size), memory_format=torch.channels_last)


def _module(classes: int, channels: int, size: Size) -> nn.Module:
    grid = grid_of(size, lambda side: (side + 2) // 8, author=28, smallest=6)
    leaky = partial(nn.LeakyReLU, 0.2)
    return nn.Sequential(
        *convolution(channels, 3, 3, padding=2, activation=leaky),
        nn.MaxPool2d(2),
        *convolution(3, 16, 3, padding=1, activation=leaky),
        nn.MaxPool2d(2),
        *convolution(16, 32, 3, padding=1, activation=leaky),
        nn.MaxPool2d(2),
        *classifier(32, grid, classes),
    )
