"""Random changes to the images of a batch, as tensor operations inside the compiled step.

An `Augment` maps a batch to a batch. It works on images before they are normalised, and draws each
sample's randomness from `fold_in(batch.key, batch.index)`.

Those that move or blacken pixels take uint8 and float images of any scale on which 0 is black:
`random_crop`, `random_flip`, `alternating_flip`, `random_affine`, `cutout`. Those that change
colours are defined on whole levels 0..255, and refuse all but uint8 by name: `random_grayscale`,
`color_jitter`, and the functions behind them, `grayscale`, `jitter`, `adjust_brightness`,
`adjust_contrast`, `adjust_saturation`, `adjust_hue`.
"""

from fnet.data.augment.affine import affine, random_affine
from fnet.data.augment.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)
from fnet.data.augment.compose import Augment, compose
from fnet.data.augment.crop import crop, random_crop
from fnet.data.augment.cutout import cutout, erase
from fnet.data.augment.flip import alternating_flip, flip, random_flip
from fnet.data.augment.grayscale import grayscale, random_grayscale
from fnet.data.augment.jitter import color_jitter, jitter

__all__ = [
    "Augment",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "affine",
    "alternating_flip",
    "color_jitter",
    "compose",
    "crop",
    "cutout",
    "erase",
    "flip",
    "grayscale",
    "jitter",
    "random_affine",
    "random_crop",
    "random_flip",
    "random_grayscale",
]
