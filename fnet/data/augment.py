"""Random changes to the images of a batch, as tensor operations inside the compiled step.

An `Augment` maps a batch to a batch. It works on uint8 images, before they are normalised, and
draws each sample's randomness from `fold_in(batch.key, batch.index)`.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from fnet import random
from fnet.data.batches import Batch

Augment: TypeAlias = Callable[[Batch], Batch]


def compose(*augments: Augment) -> Augment:
    """Return the augmentation that applies these in turn, each with a key of its own.

    Two that are the same draw independently, and changing one leaves the draws of the others as
    they were. `compose()` changes nothing. The batch comes back with the key it had.

    >>> augment = compose(random_crop(4), random_flip())
    """

    def augment(batch: Batch) -> Batch:
        if not augments:
            return batch
        keys = random.split(batch.key, len(augments))
        changed = batch
        for place, part in enumerate(augments):
            changed = part(changed._replace(key=keys[place]))
        return changed._replace(key=batch.key)

    return augment


def random_crop(padding: int = 4) -> Augment:
    """Return the augmentation that shifts each image by up to `padding` pixels, filling in black.

    Every shift in -padding..padding, down and to the right, is equally likely. Matches
    torchvision's `RandomCrop(size, padding=padding)` at the size of the images.

    Raises:
        ValueError: the padding is below 0.
    """
    if padding < 0:
        raise ValueError(f"padding is a number of pixels, 0 or more, got {padding}")

    def augment(batch: Batch) -> Batch:
        # Of 2^32 values the remainder is uniform to within (2 * padding + 1) / 2^32.
        offsets = _draw(batch) % (2 * padding + 1)
        return batch._replace(images=crop(batch.images, offsets, padding))

    return augment


def random_flip(p: float = 0.5) -> Augment:
    """Return the augmentation that mirrors each image, left to right, with probability p.

    Matches torchvision's `RandomHorizontalFlip(p)`.

    Raises:
        ValueError: p is not a probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, from 0 to 1, got {p}")

    def augment(batch: Batch) -> Batch:
        flips = _draw(batch)[:, 0] < round(p * 2**32)
        return batch._replace(images=flip(batch.images, flips))

    return augment


def crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """Surround the images by black pixels, and return from each a window of the old size.

    Args:
        images: `[N, C, H, W]`.
        offsets: int64 `[N, 2]`, the row and the column at which an image's window starts in the
            padded image, from 0 to `2 * padding`.
        padding: how many pixels are added on every side.

    Returns:
        `[N, C, H, W]`, channels-last strides.

    >>> image = torch.arange(1, 5).view(1, 1, 2, 2)
    >>> crop(image, torch.tensor([[1, 2]]), padding=1).tolist()
    [[[[2, 0], [4, 0]]]]
    """
    height, width = images.shape[-2:]
    pixels = images.permute(0, 2, 3, 1)
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding))
    row = offsets[:, 0, None] + torch.arange(height, device=images.device)
    column = offsets[:, 1, None] + torch.arange(width, device=images.device)
    return _pick(padded, row, column)


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Return the images, those of them mirrored left to right for which `flips` is true.

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
    row = torch.arange(height, device=images.device)[None]
    column = torch.arange(width, device=images.device)
    return _pick(
        images.permute(0, 2, 3, 1), row, torch.where(flips[:, None], width - 1 - column, column)
    )


def _pick(pixels: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return `[N, C, h, w]`, for image n of `[N, H, W, C]` its rows `row[n]`, columns `column[n]`.

    `row` is `[N or 1, h]`, `column` is `[N or 1, w]`.
    """
    # Plain indices, neither comparisons nor `where` on pixels: those would be worked out again
    # for every pixel that a later gather reads (compiled for a CPU, 15 times as slow).
    sample = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels[sample, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)


def _draw(batch: Batch) -> Tensor:
    """Return two random integers in [0, 2^32) for each sample, int64 `[N, 2]`."""
    # The words of a new key are 64 random bits. This key is used for nothing else, so they are
    # taken as they are: drawing from it would double the time, which is most of a crop's.
    return random.fold_in(batch.key, batch.index)
