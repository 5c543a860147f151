"""Random crops: each image shifted by a few pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fnet.data.augment import draw
from fnet.data.augment.compose import Augment
from fnet.data.augment.gather import gather
from fnet.data.batches import Batch


def random_crop(padding: int = 4) -> Augment:
    """Return the augmentation that shifts each image by up to `padding` pixels, black outside.

    Every shift in -padding..padding, in both directions, is equally likely. Matches torchvision's
    `RandomCrop(size, padding=padding)` with the size of the images.

    Raises:
        ValueError: the padding is below 0.
    """
    if padding < 0:
        raise ValueError(f"padding must be a number of pixels, 0 or more, got {padding}")

    def augment(batch: Batch) -> Batch:
        # The remainder of 2^32 values is uniform up to a bias of (2 * padding + 1) / 2^32.
        offsets = draw.words(batch) % (2 * padding + 1)
        return batch._replace(images=crop(batch.images, offsets, padding))

    return augment


def crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """Pad the images with black pixels, and return a window of the original size from each.

    Args:
        images: `[N, C, H, W]`.
        offsets: int64 `[N, 2]`, the row and the column at which an image's window starts in the
            padded image, from 0 to `2 * padding`.
        padding: pixels added on every side.

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
    return gather(padded, row[:, :, None], column[:, None, :])
