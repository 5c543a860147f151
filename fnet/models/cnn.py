"""CNN and CNNpro: two or three blocks of 5x5 convolution, batch norm, ReLU and max pooling."""

import torch
from torch import nn

from fnet.models.blocks import Size, classifier, convolution, grid_of
from fnet.nn import Model, from_module


def cnn(classes: int = 10, channels: int = 3, size: Size = 32, full_size: int = 32) -> Model:
    """Return CNN for images `[N, channels, H, W]`: 34,634 parameters at the defaults.

    The network of the padded CIFAR-10 experiment: blocks of 16 and 32 channels, one linear layer.
    Its experiment on the grey faces of FER2013 is `cnn(7, 1, size=48, full_size=48)`.

    Args:
        classes: the number of outputs.
        channels: of the images.
        size: height and width of the images, or one number for both.
        full_size: the side of the author's images; the feature maps of larger images are pooled to
            the size of those.

    Raises:
        ValueError: a side of the images is below 4.
    """
    return from_module(
        lambda: _module(classes, channels, size, full_size, (16, 32)),
        memory_format=torch.channels_last,
    )


def cnnpro(classes: int = 10, channels: int = 3, size: Size = 32, full_size: int = 32) -> Model:
    """Return CNNpro for images `[N, channels, H, W]`: 75,786 parameters at the defaults.

    CNN with a third block, of 64 channels. The arguments are those of `cnn`.

    Raises:
        ValueError: a side of the images is below 8.
    """
    return from_module(
        lambda: _module(classes, channels, size, full_size, (16, 32, 64)),
        memory_format=torch.channels_last,
    )


def _module(
    classes: int, channels: int, size: Size, full_size: int, widths: tuple[int, ...]
) -> nn.Module:
    factor = 2 ** len(widths)
    grid = grid_of(size, lambda side: side // factor, author=full_size, smallest=factor)
    layers: list[nn.Module] = []
    for width in widths:
        layers += [*convolution(channels, width, 5, padding=2), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*layers, *classifier(channels, grid, classes))
