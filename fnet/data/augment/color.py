"""Deterministic changes of brightness, contrast, saturation and hue, with a factor for each image.

The formulas are those of torchvision's `functional` for uint8 tensors: the result of each change is
truncated to integer levels. They work on levels: contiguous float32 copies of the images, on which
each operation is several times faster than on channels-last uint8 (compiled as well).
"""

import torch
from torch import Tensor

from fnet.data.augment.grayscale import check_colors, luma


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Return the images with all values multiplied by `factor` and clamped to 255.

    Matches torchvision's `functional.adjust_brightness`.

    Args:
        images: uint8 `[N, C, H, W]`, of one channel or three.
        factor: float `[N]`, 0 or more: 0 gives black, 1 the same image.

    >>> images = torch.tensor([100, 200], dtype=torch.uint8).view(1, 1, 1, 2)
    >>> adjust_brightness(images, torch.tensor([1.5])).tolist()
    [[[[150, 255]]]]
    """
    return to_images(brightness(to_levels(images, "adjust_brightness"), factor))


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Return the images with the distance of all values from the mean grey level multiplied.

    Matches torchvision's `functional.adjust_contrast`.

    Args:
        images: uint8 `[N, C, H, W]`, of one channel or three.
        factor: float `[N]`, 0 or more: 0 gives a uniform grey image, 1 the same image.

    >>> images = torch.tensor([100, 200], dtype=torch.uint8).view(1, 1, 1, 2)
    >>> adjust_contrast(images, torch.tensor([0.5])).tolist()
    [[[[125, 175]]]]
    """
    return to_images(contrast(to_levels(images, "adjust_contrast"), factor))


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Return the images with the distance of all values from the pixel's grey level multiplied.

    Images of one channel are returned unchanged. Matches torchvision's
    `functional.adjust_saturation`, except that rounding changes 1 in 500 values by one level.

    Args:
        images: uint8 `[N, C, H, W]`, of one channel or three.
        factor: float `[N]`, 0 or more: 0 gives a grey image, 1 the same image.

    >>> images = torch.tensor([100, 200, 100], dtype=torch.uint8).view(1, 3, 1, 1)
    >>> adjust_saturation(images, torch.zeros(1)).flatten().tolist()
    [158, 158, 158]
    """
    return to_images(saturation(to_levels(images, "adjust_saturation"), factor))


def adjust_hue(images: Tensor, factor: Tensor) -> Tensor:
    """Return the images with each pixel's hue rotated; its largest and smallest value stay.

    Images of one channel are returned unchanged. Matches torchvision's `functional.adjust_hue`,
    except that rounding changes 1 in 10,000 values by one level.

    Args:
        images: uint8 `[N, C, H, W]`, of one channel or three.
        factor: float `[N]`, a fraction of the colour circle, -0.5 to 0.5: 0 gives the same image.

    >>> red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    >>> adjust_hue(red, torch.tensor([1 / 3])).flatten().tolist()
    [0, 255, 0]
    """
    return to_images(hue(to_levels(images, "adjust_hue"), factor))


def to_levels(images: Tensor, name: str) -> Tensor:
    """Return uint8 images `[N, C, H, W]` as levels: integers 0..255 in float32, contiguous.

    Args:
        images: of one channel or three.
        name: the name of the function in the error message.

    Raises:
        ValueError: the images are not uint8, or have another number of channels.
    """
    check_colors(images, name)
    return images.to(torch.float32).contiguous()


def to_images(levels: Tensor) -> Tensor:
    """Return levels `[N, C, H, W]` as uint8 images, channels-last strides."""
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def brightness(levels: Tensor, factor: Tensor) -> Tensor:
    """As `adjust_brightness`, on levels."""
    return (levels * _of_image(factor)).clamp(0, 255).floor()


def contrast(levels: Tensor, factor: Tensor) -> Tensor:
    """As `adjust_contrast`, on levels."""
    return _blend(levels, luma(levels).mean((1, 2, 3), keepdim=True), factor)


def saturation(levels: Tensor, factor: Tensor) -> Tensor:
    """As `adjust_saturation`, on levels."""
    if levels.shape[1] == 1:
        return levels
    return _blend(levels, luma(levels), factor)


def hue(levels: Tensor, factor: Tensor) -> Tensor:
    """As `adjust_hue`, on levels.

    The conversion to HSV and back is one formula: with the hue h from 0 to 6, a channel is
    `max - (max - min) * clamp(min(k, 4 - k), 0, 1)`, where `k = (h + n) mod 6` and n is 5 for red,
    3 for green, 1 for blue.
    """
    if levels.shape[1] == 1:
        return levels
    red, green, blue = levels.split(1, dim=1)
    most = torch.maximum(torch.maximum(red, green), blue)
    span = most - torch.minimum(torch.minimum(red, green), blue)
    divisor = span.clamp(min=1)  # The span of a grey pixel is 0, of any other at least 1.
    sector = torch.where(
        most == red,
        (green - blue) / divisor,
        torch.where(most == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    n = torch.arange(5, 0, -2, device=levels.device)[:, None, None]
    turned = sector + 6 * _of_image(factor) + n
    k = turned - 6 * (turned / 6).floor()  # A remainder; `%` takes ten times as long on a CPU.
    value = most - span * torch.minimum(k, 4 - k).clamp(0, 1)
    # torchvision scales 0..1 to 0..255.999 before it truncates.
    return (value * (255.999 / 255)).floor()


def _blend(levels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Return `factor * levels + (1 - factor) * other`, clamped to 0..255 and truncated."""
    rest = 1 - factor.to(torch.float64)
    return (levels * _of_image(factor) + other * _of_image(rest)).clamp(0, 255).floor()


def _of_image(factor: Tensor) -> Tensor:
    return factor.to(torch.float32)[:, None, None, None]
