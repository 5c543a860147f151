"""Building blocks of several architectures: convolutions, linear layers, and their grid."""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation: TypeAlias = Callable[[], nn.Module]
"""Makes an activation layer: `nn.ReLU`, `nn.Tanh`, `lambda: nn.LeakyReLU(0.2)`."""

Size: TypeAlias = int | tuple[int, int]
"""The height and width of images in pixels, or one number for both."""


def convolution(
    inputs: int, outputs: int, kernel: int, *, padding: int, activation: Activation = nn.ReLU
) -> list[nn.Module]:
    """Return a convolution of stride 1, batch norm and activation, in this order."""
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding),
        nn.BatchNorm2d(outputs),
        activation(),
    ]


def grid_of(
    size: Size, side: Callable[[int], int], *, author: int, smallest: int
) -> tuple[int, int]:
    """Return the height and width of the feature maps that the linear layers take.

    Images up to the author's size keep the feature maps that the network computes. The feature maps
    of larger images are pooled to those of the author's size (`Flatten`), so that the linear layers
    do not grow with the images.

    Args:
        size: the height and width of the images, or one number for both.
        side: the height of the feature maps, as a function of that of the images.
        author: the height and width of the author's images.
        smallest: the smallest side that leaves a pixel after the last pooling.

    Raises:
        ValueError: the images are too small.

    >>> grid_of((24, 64), lambda side: side // 4, author=32, smallest=4)
    (6, 8)
    """
    height, width = require_size(size, smallest)
    return min(side(height), side(author)), min(side(width), side(author))


def require_size(size: Size, smallest: int) -> tuple[int, int]:
    """Return the height and width of the images; raise a ValueError if a side is too small."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < smallest:
        raise ValueError(
            f"the images are too small: {width} x {height} pixels, and this network needs at least "
            f"{smallest} x {smallest}; resize them with --size {smallest} or larger"
        )
    return height, width


def classifier(
    maps: int,
    grid: tuple[int, int],
    classes: int,
    *,
    hidden: tuple[int, ...] = (),
    linears: int | None = None,
    activation: Activation = nn.ReLU,
    softmax: bool = False,
) -> list[nn.Module]:
    """Return the layers from feature maps `[N, maps, H, W]` to logits `[N, classes]`.

    The maps are pooled to `grid` if they have another size. Linear layers of `hidden` outputs with
    an activation after each, then one of `classes` outputs. `linears` is the number of linear
    layers (default: all); with fewer, the last hidden ones are left out. With `softmax` the outputs
    are probabilities.

    Raises:
        ValueError: `linears` is not between 1 and `len(hidden) + 1`.

    >>> [str(layer) for layer in classifier(16, (5, 5), 10, hidden=(120, 84), linears=1)]
    ['Flatten(start_dim=1, end_dim=-1)', 'Linear(in_features=400, out_features=10, bias=True)']
    """
    most = len(hidden) + 1
    if linears is None:
        linears = most
    if not 1 <= linears <= most:
        raise ValueError(f"linears is {linears}, expected a number from 1 to {most}")
    layers: list[nn.Module] = [Flatten(grid)]
    features = maps * grid[0] * grid[1]
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

    So that the linear layers behind it fit images of another size than they were made for: larger
    ones, or the smaller ones that a training may begin with.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """Return `[N, C * height * width of the grid]` of maps `[N, C, H, W]`."""
        return super().forward(x if x.shape[-2:] == self.grid else pool_to(x, self.grid))


def pool_to(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the maps average-pooled to a height and width, as `F.adaptive_avg_pool2d` does.

    In operations with a deterministic gradient on a GPU, which adaptive pooling does not have.

    Args:
        x: `[N, C, H, W]`.
        grid: the height and width of the result; it may be larger than the maps.

    Returns:
        `[N, C, *grid]`.
    """
    height, width = x.shape[-2:]
    if height % grid[0] == 0 and width % grid[1] == 0:
        return F.avg_pool2d(x, (height // grid[0], width // grid[1]))
    return _means(x, grid[0]) @ x @ _means(x, grid[1], across=True)


def _means(x: Tensor, cells: int, across: bool = False) -> Tensor:
    """Return the matrix that averages the rows of maps to `cells`, or their columns."""
    side = x.shape[-1 if across else -2]
    cell = torch.arange(cells, device=x.device)[:, None]
    place = torch.arange(side, device=x.device)
    first, stop = cell * side // cells, -(-(cell + 1) * side // cells)
    inside = (place >= first) & (place < stop)
    matrix = inside.to(x.dtype) / (stop - first).to(x.dtype)
    return matrix.T if across else matrix


def require_rates(dropout: tuple[float, ...], count: int) -> None:
    """Raise a ValueError unless `dropout` has `count` rates."""
    if len(dropout) != count:
        raise ValueError(
            f"dropout is {dropout}, expected {count} rates: one for each dropout layer"
        )
