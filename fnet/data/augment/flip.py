"""Random mirror images."""

import torch
from torch import Tensor

from fnet.data.augment import draw
from fnet.data.augment.compose import Augment
from fnet.data.augment.gather import gather


def random_flip(p: float = 0.5) -> Augment:
    """Return the augmentation that mirrors each image, left to right, with probability p.

    Matches torchvision's `RandomHorizontalFlip(p)`.

    Raises:
        ValueError: p is not a probability.
    """
    chosen = draw.chance(p)
    return lambda batch: batch._replace(images=flip(batch.images, chosen(batch)))


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Return the images, mirrored left to right where `flips` is true.

    Args:
        images: `[N, C, H, W]`.
        flips: bool `[N]`.

    Returns:
        `[N, C, H, W]`, channels-last strides.

    >>> images = torch.arange(1, 5).view(2, 1, 1, 2)
    >>> flip(images, torch.tensor([False, True])).flatten().tolist()
    [1, 2, 4, 3]
    """
    height, width = images.shape[-2:]
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    mirrored = torch.where(flips[:, None], width - 1 - column, column)
    return gather(images.permute(0, 2, 3, 1), row[None, :, None], mirrored[:, None, :])
