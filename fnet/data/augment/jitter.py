"""Random brightness, contrast, saturation and hue, changed in random order."""

import math
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from fnet import random
from fnet.data.augment import color, draw
from fnet.data.augment.compose import Augment, compose
from fnet.data.batches import Batch

Amount: TypeAlias = float | tuple[float, float]
_CHANGES = {
    "brightness": color.brightness,
    "contrast": color.contrast,
    "saturation": color.saturation,
    "hue": color.hue,
}
_NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
_LIMITS = dict.fromkeys(_NEUTRAL, (0.0, math.inf)) | {"hue": (-0.5, 0.5)}


def color_jitter(
    brightness: Amount = 0, contrast: Amount = 0, saturation: Amount = 0, hue: Amount = 0
) -> Augment:
    """Return the augmentation that changes each image's colours, in a random order for each image.

    Each factor is uniform over its range, and all orders of the changes are equally likely.
    Matches torchvision's `ColorJitter`; a change whose amount is 0 is left out.

    The order is data of the compiled step, so every change is computed at every position of the
    order: four changes cost four times as much as two.

    Args:
        brightness: the range (low, high) of the factor of `adjust_brightness`, 0 or more; a number
            x means (max(0, 1 - x), 1 + x).
        contrast: the same for `adjust_contrast`.
        saturation: the same for `adjust_saturation`.
        hue: the range of the factor of `adjust_hue`, within -0.5..0.5; a number x means (-x, x).

    Raises:
        ValueError: an argument does not have this form.

    >>> augment = color_jitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.4)
    """
    amounts = zip(_CHANGES, (brightness, contrast, saturation, hue), strict=True)
    ranges = {name: _range(name, amount) for name, amount in amounts}
    wanted = {name: ends for name, ends in ranges.items() if ends != (_NEUTRAL[name],) * 2}
    if not wanted:
        return compose()

    def augment(batch: Batch) -> Batch:
        order_keys, factor_keys = random.split(draw.sample_keys(batch)).unbind(-2)
        order = random.permutation(order_keys, len(wanted))
        factors = draw.uniform(factor_keys, tuple(wanted.values()))
        changed = jitter(batch.images, dict(zip(wanted, factors, strict=True)), order)
        return batch._replace(images=changed)

    return augment


def jitter(images: Tensor, factors: Mapping[str, Tensor], order: Tensor) -> Tensor:
    """Return the images with these changes of colour applied, in the order given for each image.

    Args:
        images: uint8 `[N, C, H, W]`, of one channel or three.
        factors: the changes, named "brightness", "contrast", "saturation" or "hue", each with the
            factors, float `[N]`, that `adjust_brightness` and so on take.
        order: int64 `[N, len(factors)]`, a permutation in each row: the position in `factors` of
            the change that is applied first, second, ...

    >>> images = torch.tensor([100, 200], dtype=torch.uint8).view(1, 1, 1, 2).expand(2, -1, -1, -1)
    >>> factors = {"brightness": torch.full((2,), 2.0), "contrast": torch.full((2,), 0.5)}
    >>> jitter(images, factors, torch.tensor([[0, 1], [1, 0]])).flatten(1).tolist()
    [[213, 241], [250, 255]]
    """
    levels = color.to_levels(images, "color_jitter")
    for turn in order.unbind(-1):
        for place, (name, factor) in enumerate(factors.items()):
            # All other images get a factor that changes nothing.
            levels = _CHANGES[name](levels, torch.where(turn == place, factor, _NEUTRAL[name]))
    return color.to_images(levels)


def _range(name: str, amount: Amount) -> tuple[float, float]:
    """Return the range (low, high) of a factor; a number is the distance from the neutral one."""
    least, most = _LIMITS[name]
    if isinstance(amount, tuple | list):
        low, high = amount
    else:
        low, high = max(least, _NEUTRAL[name] - amount), _NEUTRAL[name] + amount
    if not least <= low <= high <= most:
        raise ValueError(
            f"{name} must be a number, 0 or more, or a range (low, high) of factors within "
            f"{least} to {most}, got {amount}"
        )
    return float(low), float(high)
