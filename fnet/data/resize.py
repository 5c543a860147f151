"""Resizing of images: bilinear with antialiasing, as in torchvision."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    if isinstance(size, int):
        shorter = min(images.shape[-2:])
        height, width = (size * side // shorter for side in images.shape[-2:])
    else:
        height, width = size
    if images.dtype == torch.uint8 and images.device.type != "cpu":
        return _interpolate(images.to(torch.float32), height, width).round().to(torch.uint8)
    return _interpolate(images, height, width)


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
