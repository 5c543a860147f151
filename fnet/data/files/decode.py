"""The decoder of one image, from a file or from bytes, for training and prediction."""

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
"""The suffixes of image files, in lower case."""

# Not all formats of Pillow: for some (EPS) it starts other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_GREY = ("1", "L", "LA", "La")

# The exceptions of Pillow for a file that is truncated, not an image, or malicious.
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
    """A broken file: it cannot be read, is not an image, or is damaged."""


def read_image(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """Return the image in a file, as `decode_image` does.

    Raises:
        DataError: there is no such file, or it cannot be decoded.
    """
    if not os.path.isfile(path):
        raise DataError(f"there is no image {path}: give a file, a folder of images or a URL")
    with warnings.catch_warnings(action="ignore"):
        return _fitted(read_pixels(path, shape[0]), shape)


def decode_image(content: bytes, shape: tuple[int, int, int], name: str) -> Tensor:
    """Return the decoded image, in the shape of a network's input.

    The pixels are those of `read_pixels`, grey (C = 1) or RGB (C = 3), resized to (H, W) without
    cropping: the aspect ratio is not kept. An image that already has this size has the same pixels
    as if `fnet.data.load` reads it from a folder.

    Args:
        content: the bytes of a BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file.
        shape: (C, H, W) of the result.
        name: the name of the image in messages.

    Returns:
        uint8 `[C, H, W]`, channels-last strides.

    Raises:
        DataError: as for `read_pixels`.
    """
    with warnings.catch_warnings(action="ignore"):
        return _fitted(_pixels(BytesIO(content), name, shape[0]), shape)


def read_pixels(path: Path, channels: int | None = None) -> np.ndarray:
    """Return the pixels of the image in a file.

    The image is rotated as its EXIF data say, composited over black if it is transparent, and
    converted to grey or RGB. If it has several frames, the first is returned.

    To stay thread-safe it leaves the process-wide warning filters alone, so Pillow may warn about
    unusual files.

    Args:
        path: a BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file.
        channels: 1 (grey) or 3 (RGB); None: as in the file, where a palette counts as RGB.

    Returns:
        uint8 `[H, W, C]`, read-only.

    Raises:
        BrokenImageError: the file cannot be read, is not an image, or is damaged.
        DataError: the image has more than 8 bits a channel, or so many pixels that decoding could
            exhaust the memory (`PIL.Image.MAX_IMAGE_PIXELS`).
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
                raise Image.DecompressionBombError  # Pillow itself allows twice as many
            if image.mode.startswith(("I", "F")):
                raise DataError(
                    f"{name} is not an 8-bit image (Pillow calls its mode {image.mode}): "
                    "convert it to 8 bits a channel"
                )
            grey = image.mode in _GREY if channels is None else channels == 1
            image.load()
            with contextlib.suppress(*_BROKEN):  # EXIF data that cannot be read are ignored
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
            f"{name} is not an image in one of the formats {', '.join(_FORMATS)}"
        ) from error
    except _BROKEN as error:
        raise BrokenImageError(f"{name} is not an image, or is damaged ({error})") from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _over_black(image: Image.Image) -> Image.Image:
    """Return the image composited over black, which is also the colour of padding and cutout."""
    if not image.has_transparency_data:
        return image
    solid = image.convert("RGBA")
    black = Image.new("RGBA", solid.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, solid)


def _fitted(pixels: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    image = torch.from_numpy(pixels.copy())[None].permute(0, 3, 1, 2)
    return (image if image.shape[-2:] == shape[1:] else resize(image, shape[1:]))[0]
