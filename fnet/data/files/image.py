"""One image from a file or from bytes: the pixels that training and prediction both see."""

import contextlib
import os
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fnet.data.dataset import DataError
from fnet.data.resize import resize

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
"""How the names of image files end, in lower case."""

# Not all that Pillow knows: it hands some formats (EPS) to other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_GREY = ("1", "L", "LA", "La")

# What Pillow raises on a file that is cut short, not an image, or made to break it.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)


class BrokenImageError(DataError):
    """A file that cannot be read, is not an image, or is a damaged one."""


def read_image(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """Return the image in a file; as `decode_image`.

    Raises:
        DataError: there is no such file, or as `decode_image`.
    """
    if not os.path.isfile(path):
        raise DataError(f"there is no image {path}: give a file, a folder of images or an address")
    with warnings.catch_warnings(action="ignore"):
        return _fitted(read_pixels(path, shape[0]), shape)


def decode_image(content: bytes, shape: tuple[int, int, int], name: str) -> Tensor:
    """Return the image that a file with this content holds, in the shape that a network takes.

    It is `read_pixels`, grey (C = 1) or RGB (C = 3), brought to the size by `resize`: all of it is
    kept, and its ratio of sides is not. At its own size it is, pixel by pixel, what
    `fnet.data.load` reads from the same file in a folder.

    Args:
        content: a file of BMP, GIF, JPEG, PNG, PPM, TIFF or WebP.
        shape: (C, H, W) of the result.
        name: what messages call the image.

    Returns:
        uint8 `[C, H, W]`, channels-last strides.

    Raises:
        DataError: as `read_pixels`.
    """
    with warnings.catch_warnings(action="ignore"):
        return _fitted(_pixels(BytesIO(content), name, shape[0]), shape)


def read_pixels(path: Path, channels: int | None = None) -> np.ndarray:
    """Return the pixels of the image in a file.

    The image is turned upright as its EXIF data say, laid over black where it is transparent, and
    made grey or RGB. Of several frames it is the first.

    Safe in threads, and so it leaves the filters of warnings alone: Pillow warns of what is odd,
    but can be read, unless the caller has it ignored.

    Args:
        path: a file of BMP, GIF, JPEG, PNG, PPM, TIFF or WebP.
        channels: 1 (grey) or 3 (RGB); None: as in the file, where a palette counts as RGB.

    Returns:
        uint8 `[H, W, C]`, read-only.

    Raises:
        BrokenImageError: it cannot be read, is not an image, or a broken one.
        DataError: it has more than 8 bits a channel, or so many pixels that decoding it would take
            all memory (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    try:
        with path.open("rb") as file:
            return _pixels(file, str(path), channels)
    except OSError as error:
        raise BrokenImageError(f"{path} cannot be read ({error.strerror})") from error


def _pixels(file: BinaryIO, name: str, channels: int | None) -> np.ndarray:
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError  # Pillow itself: from twice as many
            if image.mode.startswith(("I", "F")):
                raise DataError(
                    f"{name} is not an 8-bit image (Pillow calls its mode {image.mode}): "
                    "convert it to 8 bits a channel"
                )
            grey = image.mode in _GREY if channels is None else channels == 1
            image.load()
            with contextlib.suppress(*_BROKEN):  # EXIF data that cannot be read say nothing
                ImageOps.exif_transpose(image, in_place=True)
            solid = _over_black(image)
            mode = "L" if grey else "RGB"
            pixels = np.asarray(solid if solid.mode == mode else solid.convert(mode))
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, too many to decode: "
            "give a smaller copy"
        ) from error
    except UnidentifiedImageError as error:
        raise BrokenImageError(
            f"{name} is not an image, at least not one of {', '.join(_FORMATS)}"
        ) from error
    except _BROKEN as error:
        raise BrokenImageError(f"{name} is not an image, or a broken one ({error})") from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _over_black(image: Image.Image) -> Image.Image:
    """Return the image without transparency: black is what padding and cut-outs are, too."""
    if not image.has_transparency_data:
        return image
    solid = image.convert("RGBA")
    black = Image.new("RGBA", solid.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, solid)


def _fitted(pixels: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    image = torch.from_numpy(pixels.copy())[None].permute(0, 3, 1, 2)
    return (image if image.shape[-2:] == shape[1:] else resize(image, shape[1:]))[0]
