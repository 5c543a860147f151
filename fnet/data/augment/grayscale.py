"""Random conversion to grey, and the grey level of a pixel."""

import torch
from torch import Tensor

from fnet.data.augment import draw
from fnet.data.augment.compose import Augment


def random_grayscale(p: float = 0.1) -> Augment:
    """Return the augmentation that makes each image grey with probability p, still as RGB.

    Matches torchvision's `RandomGrayscale(p)`.

    Raises:
        ValueError: p is not a probability.
    """
    chosen = draw.chance(p)
    return lambda batch: batch._replace(images=grayscale(batch.images, chosen(batch)))


def grayscale(images: Tensor, grays: Tensor) -> Tensor:
    """Return the images, grey (still as RGB) where `grays` is true.

    Images of one channel are returned unchanged. Matches torchvision's
    `functional.rgb_to_grayscale`.

    Args:
        images: uint8 `[N, C, H, W]`, of one channel or three.
        grays: bool `[N]`.

    Raises:
        ValueError: the images are not uint8, of one channel or three.

    Returns:
        uint8 `[N, C, H, W]`, strides of `images`.

    >>> images = torch.tensor([100, 200, 100], dtype=torch.uint8).view(1, 3, 1, 1)
    >>> grayscale(images, torch.tensor([True])).flatten().tolist()
    [158, 158, 158]
    """
    check_colors(images, "random_grayscale")
    return torch.where(grays[:, None, None, None], luma(images).to(torch.uint8), images)


def luma(images: Tensor) -> Tensor:
    """Return the grey level of each pixel (ITU-R 601-2), truncated to integers.

    Args:
        images: `[N, C, H, W]`, integers 0..255 of any dtype, of one channel or three.

    Returns:
        float32 `[N, 1, H, W]`.
    """
    if images.shape[1] == 1:
        return images.to(torch.float32)
    red, green, blue = images.split(1, dim=1)
    # The order of operations of torchvision, which gives the same levels bit for bit.
    return torch.add(torch.add(red * 0.2989, green, alpha=0.587), blue, alpha=0.114).floor()


def check_colors(images: Tensor, name: str) -> None:
    """Check that the images are uint8 and have one or three channels.

    Raises:
        ValueError: they are not; the message names the function.
    """
    channels = images.shape[1]
    if images.dtype != torch.uint8 or channels not in (1, 3):
        raise ValueError(
            f"{name} needs uint8 images of 1 or 3 channels, before preprocessing; got "
            f"{images.dtype} images of {channels} channels. For float images use random_crop, "
            "random_flip, random_affine or cutout"
        )
