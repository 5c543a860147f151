"""Grids of images: predictions of a network, and the filters of its first layer."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from fnet.show.plots.style import LIGHT, RIGHT, WRONG, label, new_axes, new_figure

_TITLE = 18  # characters that fit above an image


def image_grid(images: Tensor, titles: Sequence[str], right: Sequence[bool]) -> Figure:
    """Return images in a square grid; titles are green with a tick if right, else red with a cross.

    Args:
        images: uint8 `[N, C, H, W]`; one channel is grey, three are RGB.
        titles: N titles such as "cat (dog)": predicted class (true class).
        right: N flags, whether the prediction is the true class.

    Raises:
        ValueError: no image, another dtype or number of channels, or another number of titles or
            flags than images.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"the images are {images.dtype}, expected torch.uint8")
    n = len(images)
    if not n == len(titles) == len(right):
        raise ValueError(
            f"got {n} images, {len(titles)} titles and {len(right)} flags, expected as many of each"
        )
    figure, pictures = _cells(images, 1.35, 1.7)
    two_lines = any(len(title) > _TITLE for title in titles)
    for axes, pixels, title, verdict in zip(
        pictures, images.detach().cpu().numpy(), titles, right, strict=True
    ):
        _show(axes, pixels / 255)
        color = RIGHT if verdict else WRONG
        lines = title.replace(" (", "\n(", 1) if two_lines else title
        text = "\n".join(label(line, _TITLE) for line in lines.split("\n"))
        axes.set_title(f"{'✓' if verdict else '✗'} {text}", color=color, size=8, weight="bold")
        for spine in axes.spines.values():
            spine.set(visible=True, edgecolor=color, linewidth=2)
    return figure


def filters(weights: Tensor) -> Figure:
    """Return the filters of a first convolution in a square grid, in the order of output channels.

    A weight of zero is grey; the largest absolute weight of all filters is white or black.

    Args:
        weights: `[out, in, h, w]`, with `in` 1 (grey) or 3 (RGB).

    Raises:
        ValueError: the weights have another shape.
    """
    figure, pictures = _cells(weights, 0.7, 0.7)
    for axes, pixels in zip(pictures, filter_pixels(weights), strict=True):
        _show(axes, pixels)
    figure.suptitle(f"{len(weights)} filters of the first layer", size=10, color=LIGHT.ink)
    return figure


def filter_pixels(weights: Tensor) -> NDArray[np.floating]:
    """Return the filters scaled to [0, 1], the same shape, 0.5 for a weight of zero."""
    values = np.nan_to_num(weights.detach().cpu().float().numpy(), posinf=0, neginf=0)
    largest = np.abs(values).max() or 1.0
    return 0.5 + values / (2 * largest)


def _cells(images: Tensor, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and axes without ticks for each image; width and height are in inches."""
    if images.dim() != 4 or not len(images) or images.shape[1] not in (1, 3):
        raise ValueError(
            f"got {list(images.shape)}, expected [N, C, H, W] with N at least 1 and C 1 or 3"
        )
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    figure = new_figure(columns * width, rows * height)
    grid = figure.add_gridspec(rows, columns)
    cells = []
    for place in range(len(images)):
        axes = new_axes(figure, grid[place // columns, place % columns], xticks=[], yticks=[])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        cells.append(axes)
    return figure, cells


def _show(axes: Axes, pixels: NDArray[np.floating]) -> None:
    """Draw an image `[C, H, W]` with values in [0, 1]."""
    if len(pixels) == 1:
        axes.imshow(pixels[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(pixels.transpose(1, 2, 0), interpolation="nearest")
