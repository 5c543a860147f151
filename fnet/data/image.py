"""One image from a file or from bytes, as a data set with images of this shape would hold it."""

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


def read_image(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """Return the image in a file; as `decode_image`.

    Raises:
        DataError: there is no such file, or it is not an image.
    """
    if not path.is_file():
        raise DataError(f"there is no image {path}: give a file, a folder of images or an address")
    try:
        with path.open("rb") as file:
            return _decode(file, shape, str(path))
    except PermissionError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def decode_image(content: bytes, shape: tuple[int, int, int], name: str) -> Tensor:
    """Return the image that a file with this content holds, in the shape that a network takes.

    It is turned upright as its EXIF data say, made grey (C = 1) or RGB (C = 3) from grey, palette,
    RGB or CMYK, laid over black where it is transparent, and brought to the size by `resize`: all
    of it is kept, and its ratio of sides is not. At its own size it is, pixel by pixel, what
    `fnet.data.load` reads from the same opaque, upright image in a folder. Of several frames it is
    the first.

    Args:
        content: a file of BMP, GIF, JPEG, PNG, PPM, TIFF or WebP.
        shape: (C, H, W) of the result.
        name: what messages call the image.

    Returns:
        uint8 `[C, H, W]`, channels-last strides.

    Raises:
        DataError: it is not an image, a broken one, one of more than 8 bits a channel, or one of
            so many pixels that decoding it would take all memory (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    return _decode(BytesIO(content), shape, name)


def _decode(file: BinaryIO, shape: tuple[int, int, int], name: str) -> Tensor:
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd, but can be read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as image:
                if image.mode.startswith(("I", "F")):
                    raise DataError(
                        f"{name} is not an 8-bit image (Pillow calls its mode {image.mode}): "
                        "convert it to 8 bits a channel"
                    )
                pixels = np.array(_over_black(ImageOps.exif_transpose(image)).convert(mode))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, too many to decode: "
            "give a smaller copy"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} is not an image, at least not one of {', '.join(_FORMATS)}"
        ) from error
    except _BROKEN as error:
        raise DataError(f"{name} is not an image, or a broken one ({error})") from error
    decoded = torch.from_numpy(pixels.reshape(1, *pixels.shape[:2], channels)).permute(0, 3, 1, 2)
    if decoded.shape[-2:] != (height, width):
        decoded = resize(decoded, (height, width))
    return decoded[0]


def _over_black(image: Image.Image) -> Image.Image:
    """Return the image without transparency: black is what padding and cut-outs are, too."""
    if not image.has_transparency_data:
        return image
    solid = image.convert("RGBA")
    black = Image.new("RGBA", solid.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, solid)
