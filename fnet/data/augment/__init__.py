"""Random changes to the images of a batch, as tensor operations inside the compiled step.

An `Augment` maps a batch to a batch. It works on images before they are normalised, and draws each
sample's randomness from `fold_in(batch.key, batch.index)`.

`random_crop`, `random_flip`, `alternating_flip`, `random_affine` and `cutout` move or blacken
pixels: they take uint8 and float images, on any scale on which 0 is black. The augmentations of
colour, `random_grayscale` and `color_jitter`, are defined on integer levels 0..255: they and the
functions behind them (`grayscale`, `jitter`, `adjust_brightness`, `adjust_contrast`,
`adjust_saturation`, `adjust_hue`) take uint8 images, and raise a `ValueError` for any other dtype.
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
