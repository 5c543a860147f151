"""Images in a folder of class folders, split by folders or by how the names of files begin."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from fnet.data.cache import Arrays, cached
from fnet.data.dataset import DataError

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many images are decoded, and of how many."""

PREFIXES = {"train": ("Training_",), "test": ("PublicTest_", "PrivateTest_")}
"""For each split how its files' names begin, where there are no folders `train` and `test`."""

_KNOWN = tuple(prefix for prefixes in PREFIXES.values() for prefix in prefixes)

_CHUNK = 256  # images a task of a thread


def load_folder(folder: Path, split: str, on_progress: Progress | None = None) -> Arrays:
    """Return the images of one split, decoded now or taken from the cache.

    These are the images in `train/<class>` or `test/<class>`. Where both folders are missing, but
    files in class folders have the names of FER2013's images, they are `<class>/Training_*` for
    training, `<class>/PublicTest_*` and `<class>/PrivateTest_*` for test.

    Classes and the files in them are sorted by name, so the images come class by class. Images
    of one size are expected. They are grey (C = 1) if every one of them is, else RGB; an alpha
    channel is dropped. Names that begin with a dot are passed over.

    Args:
        folder: holds `train` and `test`, which hold one folder for each class, of the same names,
            or holds class folders whose files' names all begin with one of `PREFIXES`.
        split: "train" or "test".
        on_progress: called while decoding.

    Raises:
        DataError: naming the file or folder that is not as it should be.
    """
    if _splits_by_prefix(folder):
        base, classes = folder, tuple(_class_names(folder))
        files = [_files_with_prefix(base / name, split) for name in classes]
    else:
        base, classes = folder / split, _classes(folder)
        files = [_files(base / name) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(names) for names in files])
    listed = [
        (f"{name}/{file}", size, changed)
        for name, entries in zip(classes, files, strict=True)
        for file, size, changed in entries
    ]

    def build() -> Arrays:
        paths = [base / name for name, _, _ in listed]
        return Arrays(decode(paths, on_progress), labels, classes)

    return cached(f"{folder.resolve() / split}", listed, build)


def decode(paths: list[Path], on_progress: Progress | None = None) -> np.ndarray:
    """Return the images in these files, uint8 `[N, H, W, C]`, C = 1 if all are grey, else 3.

    Raises:
        DataError: a file is not an image, or not of the first one's size.
    """
    first = _read(paths[0])
    images = np.empty((len(paths), *first.shape[:2], 3), np.uint8)

    def decode_chunk(start: int) -> tuple[int, bool]:
        grey = True
        stop = min(start + _CHUNK, len(paths))
        for place in range(start, stop):
            image = _read(paths[place])
            if image.shape[:2] != first.shape[:2]:
                raise DataError(
                    f"The images have different sizes: {paths[0]} is {_size(first)} pixels, "
                    f"{paths[place]} is {_size(image)}. A network takes images of one size: "
                    "resize them all to the same width and height."
                )
            images[place] = image
            grey = grey and image.shape[2] == 1
        return stop, grey

    all_grey = True
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, grey in pool.map(decode_chunk, range(0, len(paths), _CHUNK)):
            all_grey = all_grey and grey
            if on_progress is not None:
                on_progress(done, len(paths))
    return np.ascontiguousarray(images[..., :1]) if all_grey else images


def _splits_by_prefix(folder: Path) -> bool:
    """Say whether there is neither `train` nor `test`, but a file that begins as in `PREFIXES`."""
    if any((folder / split).exists() for split in PREFIXES):
        return False
    return any(True for prefix in _KNOWN for _ in folder.glob(f"*/{prefix}*"))


def _class_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _visible(folder) if entry.is_dir())


def _classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the classes, sorted, once train and test are seen to have the same."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Give the folder that holds train and test.")
    names = {}
    for split in ("train", "test"):
        if not (folder / split).is_dir():
            raise DataError(
                f"The folder {folder} has no folder {split!r}. Expected are two folders, train "
                "and test, each with one folder of images for every class."
            )
        names[split] = _class_names(folder / split)
        if not names[split]:
            raise DataError(
                f"The folder {folder / split} has no class folders. Put the images of each class "
                f"into a folder named after it: {folder / split}/<class>/<image>."
            )
    for one, other in itertools.permutations(("train", "test")):
        extra = sorted(set(names[one]) - set(names[other]))
        if extra:
            raise DataError(
                f"The classes differ: {', '.join(map(repr, extra))} in {folder / one} is not in "
                f"{folder / other}. Both need a folder for every class, of the same name."
            )
    return tuple(names["train"])


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Return (name, size, time of change) of the images of one class, sorted by name."""
    files = []
    for entry in _visible(folder):
        if entry.is_dir():
            raise DataError(
                f"{entry.path} is a folder among the images of a class. Expected are image files "
                "only: move its images up, or the folder away."
            )
        stat = entry.stat()
        files.append((entry.name, stat.st_size, stat.st_mtime_ns))
    if not files:
        raise DataError(
            f"The class folder {folder} is empty. Put images into it, or remove the class from "
            "both train and test."
        )
    return sorted(files)


def _files_with_prefix(folder: Path, split: str) -> list[tuple[str, int, int]]:
    """Return those of `_files` whose names begin as this split's do."""
    files = _files(folder)
    for name, _, _ in files:
        if not name.startswith(_KNOWN):
            raise DataError(
                f"{folder / name} does not begin with {' or '.join(_KNOWN)}, as other files of "
                "this data set do, which tells training images from test images. Rename it, or "
                "move all images into two folders, train/<class> and test/<class>."
            )
    chosen = [file for file in files if file[0].startswith(PREFIXES[split])]
    if not chosen:
        raise DataError(
            f"The class folder {folder} has no file that begins with "
            f"{' or '.join(PREFIXES[split])}: the {split} split needs images of every class."
        )
    return chosen


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _read(path: Path) -> np.ndarray:
    """Return one image, uint8 `[H, W, C]`, C = 1 (grey) or 3."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(
                    f"{path} is not an 8-bit image (Pillow calls its mode {image.mode}). "
                    "Convert it to 8 bits a channel."
                )
            mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{path} is not an image, or a broken one ({error}). A class folder may hold images "
            "only: replace the file or remove it."
        ) from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
