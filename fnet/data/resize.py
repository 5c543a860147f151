"""Resizing of images: bilinear with antialiasing, as in torchvision."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fnet.data.dataset import Dataset

AT_ONCE = 1000
"""How many images of a data set are resized in one call."""


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Return the images resized, bilinear with antialiasing.

    Matches torchvision's `functional.resize` on tensors bit for bit on the same device. A CPU
    resizes uint8 images in integers, a GPU in float32, so values may differ by one level.

    Args:
        images: `[N, C, H, W]`, uint8 or float, values 0..255.
        size: height and width; a single number is the length of the shorter side, and the aspect
            ratio is kept.

    Returns:
        `[N, C, *size]`, dtype of `images`, channels-last strides if `images` has them.

    >>> images = torch.tensor([0, 0, 100, 100], dtype=torch.uint8).view(1, 1, 1, 4)
    >>> resize(images, (1, 2)).flatten().tolist()
    [14, 86]
    """
    height, width = scaled(images.shape[-2:], size) if isinstance(size, int) else size
    if images.dtype == torch.uint8 and images.device.type != "cpu":
        return _interpolate(images.to(torch.float32), height, width).round().to(torch.uint8)
    return _interpolate(images, height, width)


def scaled(sides: Sequence[int], size: int) -> tuple[int, int]:
    """Return the height and width with the same aspect ratio whose shorter side is `size`.

    Raises:
        ValueError: the size is below 1.

    >>> scaled((32, 48), 24)
    (24, 36)
    """
    if size < 1:
        raise ValueError(f"the side of an image is at least 1 pixel; got {size}")
    height, width = sides
    return size * height // min(sides), size * width // min(sides)


def resize_dataset(dataset: Dataset, size: int) -> Dataset:
    """Return the data set with images whose shorter side is `size`, unchanged if it already is."""
    height, width = dataset.images.shape[-2:]
    shape = scaled((height, width), size)
    if shape == (height, width):
        return dataset
    parts = [resize(part, shape) for part in dataset.images.split(AT_ONCE)]
    return replace(dataset, images=torch.cat(parts))


def pad_and_resize(images: Tensor, padding: int) -> Tensor:
    """Pad the images with black pixels, and resize them back to their size.

    Matches torchvision's `Pad(padding)` followed by `Resize`, as `resize` does.

    Args:
        images: `[N, C, H, W]`, uint8 or float, values 0..255.
        padding: pixels added on every side.

    Returns:
        `[N, C, H, W]`, dtype and strides of `images`.
    """
    padded = F.pad(images, (padding, padding, padding, padding))
    height, width = images.shape[-2:]
    return resize(padded, (height, width))


def _interpolate(images: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)
