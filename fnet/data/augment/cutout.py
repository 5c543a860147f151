"""Cutout: a black square at a random place of each image (DeVries and Taylor, arXiv 1708.04552)."""

import torch
from torch import Tensor

from fnet.data.augment import draw
from fnet.data.augment.compose import Augment
from fnet.data.batches import Batch


def cutout(size: int) -> Augment:
    """Return the augmentation that blackens a square of `size` pixels a side on each image.

    Every pixel is equally likely to be the centre, so the square may extend beyond the edge, as in
    the paper. Here black is 0 before normalisation; in the paper it is 0 after normalisation.

    Raises:
        ValueError: the size is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be a number of pixels, 1 or more, got {size}")

    def augment(batch: Batch) -> Batch:
        height, width = batch.images.shape[-2:]
        row, column = draw.words(batch).unbind(-1)
        centers = torch.stack([row % height, column % width], -1)
        return batch._replace(images=erase(batch.images, centers, size))

    return augment


def erase(images: Tensor, centers: Tensor, size: int) -> Tensor:
    """Return the images, each with a black square of `size` pixels a side.

    Args:
        images: `[N, C, H, W]`.
        centers: int64 `[N, 2]`, row and column of the square's centre; a square of even size has
            one more pixel above and to the left of it than below and to the right.
        size: the side in pixels.

    Returns:
        `[N, C, H, W]`, strides of `images`.

    >>> images = torch.ones(1, 1, 3, 3, dtype=torch.uint8)
    >>> erase(images, torch.tensor([[0, 1]]), size=2).tolist()
    [[[[0, 0, 1], [1, 1, 1], [1, 1, 1]]]]
    """
    height, width = images.shape[-2:]
    first = centers - size // 2
    row = torch.arange(height, device=images.device) - first[:, 0, None]
    column = torch.arange(width, device=images.device) - first[:, 1, None]
    rows, columns = (row >= 0) & (row < size), (column >= 0) & (column < size)
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])
