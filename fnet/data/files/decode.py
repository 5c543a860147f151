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
from fnet.data.fit import Fit, fit_to

SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
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


def read_image(path: Path, shape: tuple[int, int, int], fit: Fit = "stretch") -> Tensor:
    """Return the image in a file, as `decode_image` does.

    Raises:
        DataError: there is no such file, or it cannot be decoded.
    """
    if not os.path.isfile(path):
        raise DataError(f"there is no image {path}: give a file, a folder of images or a URL")
    with warnings.catch_warnings(action="ignore"):
        return _as_tensor(fit_pixels(read_pixels(path, shape[0]), shape[1:], fit))


def decode_image(
    content: bytes, shape: tuple[int, int, int], name: str, fit: Fit = "stretch"
) -> Tensor:
    """Return the decoded image, in the shape of a network's input.

    The pixels are those of `read_pixels`, grey (C = 1) or RGB (C = 3), in the size (H, W). They are
    the same as if `fnet.data.load` reads the image from a folder in this size, with this fit.

    Args:
        content: the bytes of a BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file.
        shape: (C, H, W) of the result.
        name: the name of the image in messages.
        fit: how the image is resized; by default the aspect ratio is not kept.

    Returns:
        uint8 `[C, H, W]`, channels-last strides.

    Raises:
        DataError: as for `read_pixels`.
    """
    with warnings.catch_warnings(action="ignore"):
        return _as_tensor(fit_pixels(_pixels(BytesIO(content), name, shape[0]), shape[1:], fit))


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


def fit_pixels(pixels: np.ndarray, size: tuple[int, int], fit: Fit) -> np.ndarray:
    """Return the pixels in this height and width, as `fnet.data.fit.fit_to` does.

    Args:
        pixels: uint8 `[H, W, C]`.
        size: the height and width of the result.
        fit: how the image is resized.

    Returns:
        uint8 `[*size, C]`.
    """
    if pixels.shape[:2] == size:
        return pixels
    image = torch.from_numpy(pixels.copy())[None].permute(0, 3, 1, 2)
    return fit_to(image, size, fit)[0].permute(1, 2, 0).numpy()


def _as_tensor(pixels: np.ndarray) -> Tensor:
    image = torch.from_numpy(pixels.copy())[None].permute(0, 3, 1, 2)
    return image.contiguous(memory_format=torch.channels_last)[0]
