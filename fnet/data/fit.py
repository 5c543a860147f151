"""Images of any size made to fit one size: cropped, padded or stretched."""

from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from fnet.data.resize import resize

Fit: TypeAlias = Literal["crop", "pad", "stretch"]
"""crop: the largest centred part with the new aspect ratio, resized. pad: the whole image, resized
with its aspect ratio kept, centred on black. stretch: resized, the aspect ratio is not kept."""


def fit_to(images: Tensor, size: tuple[int, int], fit: Fit = "crop") -> Tensor:
    """Return the images in this size; unchanged if they already have it.

    Resized as `fnet.data.resize.resize` does. A crop comes before the resizing, so the memory that
    is needed does not depend on the aspect ratio.

    Args:
        images: `[N, C, H, W]`, uint8 or float, values 0..255.
        size: height and width of the result.
        fit: what to do if the aspect ratio differs, see `Fit`.

    Returns:
        `[N, C, *size]`, dtype of `images`.

    Raises:
        ValueError: there is no such fit.

    >>> import torch
    >>> images = torch.tensor([0, 100, 100, 0], dtype=torch.uint8).view(1, 1, 1, 4)
    >>> fit_to(images, (1, 2), "stretch").tolist(), fit_to(images, (1, 1), "crop").tolist()
    ([[[[57, 57]]]], [[[[100]]]])
    """
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    match fit:
        case "stretch":
            return resize(images, size)
        case "crop":
            inner = _scaled_within(size, (height, width))
            top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
            return resize(images[..., top : top + inner[0], left : left + inner[1]], size)
        case "pad":
            inner = _scaled_within((height, width), size)
            small = images if inner == (height, width) else resize(images, inner)
            above, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
            below, right = size[0] - inner[0] - above, size[1] - inner[1] - left
            return F.pad(small, (left, right, above, below))
    raise ValueError(f"fit is crop, pad or stretch, got {fit!r}")


def _scaled_within(sides: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """Return the largest height and width within the box that have the aspect ratio of `sides`."""
    height, width = sides
    if height * box[1] >= width * box[0]:
        return box[0], max(1, round(box[0] * width / height))
    return max(1, round(box[1] * height / width)), box[1]
