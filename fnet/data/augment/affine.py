"""Random affine maps: rotation, shift, scale and shear about the centre of each image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fnet.data.augment import draw
from fnet.data.augment.compose import Augment
from fnet.data.augment.gather import gather
from fnet.data.batches import Batch


def random_affine(
    degrees: float | tuple[float, float],
    translate: tuple[float, float] | None = None,
    scale: tuple[float, float] | None = None,
    shear: float | tuple[float, ...] | None = None,
) -> Augment:
    """Return the augmentation that rotates, shifts, scales and shears each image.

    Each parameter is uniform over its range. Matches the distributions of torchvision's
    `RandomAffine` with its defaults: nearest-neighbour interpolation, black outside the image.

    Args:
        degrees: the range of angles (low, high); a number d means (-d, d).
        translate: the largest shift in either direction (horizontal, vertical), as fractions of
            the width and height, 0 to 1. Shifts are rounded to whole pixels.
        scale: the range of scale factors (low, high), above 0.
        shear: the range of horizontal shears in degrees (low, high); a number s means (-s, s);
            four numbers (low, high, low, high) are the horizontal and the vertical range.

    Raises:
        ValueError: an argument does not have this form.

    >>> augment = random_affine(5, translate=(0.1, 0.1), scale=(0.9, 1.1))
    """
    angles = _about_zero(degrees, "degrees")
    right, down = (0.0, 0.0) if translate is None else translate
    if not (0 <= right <= 1 and 0 <= down <= 1):
        raise ValueError(
            f"translate must be two fractions of the width and height, 0 to 1, got {translate}"
        )
    scales = (1.0, 1.0) if scale is None else scale
    if not 0 < scales[0] <= scales[1]:
        raise ValueError(f"scale must be a range (low, high) above 0, got {scale}")
    shears = (0.0, 0.0) if shear is None else shear
    horizontal, vertical = (
        (shears[:2], shears[2:])
        if isinstance(shears, tuple | list) and len(shears) == 4
        else (shears, (0.0, 0.0))
    )
    ranges = (angles, scales, _about_zero(horizontal, "shear"), _about_zero(vertical, "shear"))

    def augment(batch: Batch) -> Batch:
        height, width = batch.images.shape[-2:]
        shifts = ((-right * width, right * width), (-down * height, down * height))
        drawn = draw.uniform(draw.sample_keys(batch), (*ranges, *shifts))
        angle, factor, shear_x, shear_y, x, y = drawn
        translation, shearing = torch.stack([x, y], -1).round(), torch.stack([shear_x, shear_y], -1)
        return batch._replace(images=affine(batch.images, angle, translation, factor, shearing))

    return augment


def affine(
    images: Tensor, angle: Tensor, translate: Tensor, scale: Tensor, shear: Tensor
) -> Tensor:
    """Return the images sheared, scaled, rotated about their centre, and then shifted.

    Matches torchvision's `functional.affine` with its defaults (nearest neighbour, black outside),
    except for pixels whose source is halfway between two pixels, where rounding decides.

    Args:
        images: `[N, C, H, W]`.
        angle: float `[N]`, degrees clockwise.
        translate: float `[N, 2]`, pixels to the right and down.
        scale: float `[N]`, above 0; 2 shows things twice as large.
        shear: float `[N, 2]`, degrees, along the horizontal and the vertical axis.

    Returns:
        `[N, C, H, W]`, channels-last strides.

    >>> image = torch.arange(1, 5).view(1, 1, 2, 2)
    >>> none, pair = torch.zeros(1), torch.zeros(1, 2)
    >>> affine(image, torch.tensor([90.0]), pair, torch.ones(1), pair).tolist()
    [[[[3, 1], [4, 2]]]]
    """
    # In float64 the error of a coordinate is 1e-14, so no compiler's order of sums moves a pixel.
    angle, scale = torch.deg2rad(angle.to(torch.float64)), scale.to(torch.float64)
    shear_x, shear_y = torch.deg2rad(shear.to(torch.float64)).unbind(-1)
    right, down = translate.to(torch.float64).unbind(-1)
    # The map is ((a, b), (c, d)) * scale, of determinant scale^2; a pixel's source is its inverse.
    a = (angle - shear_y).cos() / shear_y.cos()
    b = -a * shear_x.tan() - angle.sin()
    c = (angle - shear_y).sin() / shear_y.cos()
    d = angle.cos() - c * shear_x.tan()
    (a, b, c, d), (height, width) = (part / scale for part in (a, b, c, d)), images.shape[-2:]
    x = _from_centre(width, images.device) - right[:, None]
    y = _from_centre(height, images.device) - down[:, None]
    column = (d[:, None] * x)[:, None, :] - (b[:, None] * y)[:, :, None] + (width - 1) / 2
    row = (a[:, None] * y)[:, :, None] - (c[:, None] * x)[:, None, :] + (height - 1) / 2
    # A border of one black pixel: coordinates outside the image are clamped to it.
    framed = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    return gather(
        framed,
        (row.round() + 1).clamp(0, height + 1).to(torch.int64),
        (column.round() + 1).clamp(0, width + 1).to(torch.int64),
    )


def _from_centre(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, device=device, dtype=torch.float64) - (size - 1) / 2


def _about_zero(value: float | tuple[float, ...], name: str) -> tuple[float, float]:
    """Return the range (low, high) of a pair; a number v stands for (-v, v)."""
    ends = tuple(value) if isinstance(value, tuple | list) else (-value, value)
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ValueError(f"{name} must be a number, 0 or more, or a range (low, high), got {value}")
    return ends
