"""Decoding of many image files to one array, by several threads."""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fnet.data.dataset import DataError
from fnet.data.files.decode import BrokenImageError, fit_pixels, read_pixels
from fnet.data.fit import Fit

Progress: TypeAlias = Callable[[int, int], None]
"""A callback that gets the number of decoded images, and the number of all images."""

_CHUNK = 256  # images in one task of the thread pool


def decode(
    paths: list[Path],
    on_progress: Progress | None = None,
    skip_broken: bool = False,
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
) -> tuple[np.ndarray, list[int]]:
    """Return the images in these files, and the indices of the files that were skipped.

    Args:
        paths: the files, each read by `fnet.data.files.decode.read_pixels`.
        on_progress: called while decoding.
        skip_broken: skip broken files (unreadable, not an image, damaged) instead of raising.
        size: the height and width to resize the images to; None: all must have one size.
        fit: how they are resized.

    Returns:
        uint8 `[N, H, W, C]`, C = 1 if all images are grey, else 3; the indices in ascending order.

    Raises:
        DataError: a file is broken or has another size than the first (the message names it), or
            all files are broken.
    """
    # Not in the threads: warning filters are global to the process.
    with warnings.catch_warnings(action="ignore"):
        return _decode(paths, on_progress, skip_broken, size, fit)


def _decode(
    paths: list[Path],
    on_progress: Progress | None,
    skip_broken: bool,
    size: tuple[int, int] | None,
    fit: Fit,
) -> tuple[np.ndarray, list[int]]:
    first_path, first = _first_image(paths, skip_broken)
    images = np.empty((len(paths), *(size or first.shape[:2]), 3), np.uint8)

    def decode_chunk(start: int) -> tuple[int, bool, list[int]]:
        grey, chunk_broken, stop = True, [], min(start + _CHUNK, len(paths))
        for place in range(start, stop):
            image = _read(paths[place], skip_broken)
            if image is None:
                chunk_broken.append(place)
                continue
            if size is not None:
                image = fit_pixels(image, size, fit)
            elif image.shape[:2] != first.shape[:2]:
                raise DataError(
                    f"The images have different sizes: {first_path} has {_size(first)} pixels, "
                    f"{paths[place]} has {_size(image)}. A network needs images of one size: give "
                    "--size, such as --size 64, or resize them all to the same width and height."
                )
            images[place] = image
            grey = grey and image.shape[2] == 1
        return stop, grey, chunk_broken

    all_grey = True
    broken: list[int] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, grey, chunk_broken in pool.map(decode_chunk, range(0, len(paths), _CHUNK)):
            all_grey = all_grey and grey
            broken += chunk_broken
            if on_progress is not None:
                on_progress(done, len(paths))
    if broken:
        images = np.delete(images, broken, axis=0)
    return (np.ascontiguousarray(images[..., :1]) if all_grey else images), broken


def _first_image(paths: list[Path], skip_broken: bool) -> tuple[Path, np.ndarray]:
    for path in paths:
        image = _read(path, skip_broken)
        if image is not None:
            return path, image
    raise DataError(
        f"All {len(paths)} image files are broken, from {paths[0]} to {paths[-1]}: no image is "
        "left to train on. Download or copy the data set again."
    )


def _read(path: Path, skip_broken: bool) -> np.ndarray | None:
    """Return the pixels of an image, or None if it is broken and may be skipped."""
    try:
        return read_pixels(path)
    except BrokenImageError as error:
        if skip_broken:
            return None
        raise DataError(
            f"{error}. A class folder must contain only images: replace or remove the file, or "
            "skip all broken files with --skip-broken."
        ) from error


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
