"""Images in a folder of class folders, split by folders or by file name prefixes."""

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fnet.data.dataset import DataError, printable, quoted
from fnet.data.files.cache import Arrays, cached
from fnet.data.files.decode_many import Progress, decode

PREFIXES = {"train": ("Training_",), "test": ("PublicTest_", "PrivateTest_")}
"""The file name prefixes of each split, used if there are no folders `train` and `test`."""

_KNOWN = tuple(prefix for prefixes in PREFIXES.values() for prefix in prefixes)

_File: TypeAlias = tuple[str, int, int]  # name, size in bytes, modification time in ns


def load_folder(
    folder: Path, split: str, on_progress: Progress | None = None, skip_broken: bool = False
) -> Arrays:
    """Return the images of one split, from the cache or decoded now.

    The images are in `train/<class>` and `test/<class>`. If both folders are missing and the class
    folders contain files named like the images of FER2013, the training images are
    `<class>/Training_*`, the test images `<class>/PublicTest_*` and `<class>/PrivateTest_*`.

    Classes, and the files in each, are sorted by name, so the images are ordered by class. All
    images must have one size. They are upright and opaque (`fnet.data.files.decode.read_pixels`).
    The result is grey (C = 1) if all images are grey, else RGB. Names that begin with a dot are
    ignored.

    Args:
        folder: contains `train` and `test`, each with one folder for each class and the same class
            names, or class folders in which every file name begins with one of `PREFIXES`.
        split: "train" or "test".
        on_progress: called while decoding.
        skip_broken: skip broken files (unreadable, not an image, damaged) and list them in
            `skipped`, instead of raising an error.

    Raises:
        DataError: a file or folder is not as expected; the message names it.
    """
    try:
        base, classes, files = _list(folder, split)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}). Change its permissions, repair "
            "it, or remove it."
        ) from error
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(names) for names in files])
    listed = [
        (f"{name}/{file}", size, changed)
        for name, entries in zip(classes, files, strict=True)
        for file, size, changed in entries
    ]

    def build() -> Arrays:
        images, broken = decode([base / name for name, _, _ in listed], on_progress, skip_broken)
        kept = np.delete(labels, broken)
        for name, count in zip(classes, np.bincount(kept, minlength=len(classes)), strict=True):
            if not count:
                raise DataError(
                    f"All images in the class folder {base / name} are broken. Replace them, or "
                    "remove the class from both train and test."
                )
        skipped = tuple(printable(listed[place][0]) for place in broken)
        return Arrays(images, kept, tuple(map(printable, classes)), skipped)

    # Separate cache entries: with the entry of the other setting, the error about a broken file
    # or the notice of the skipped ones would be lost.
    kind = ", without those that are broken" if skip_broken else ""
    arrays = cached(f"{folder.resolve() / split}{kind}", listed, build)
    skipped = set(arrays.skipped)
    names = [name for name in (printable(name) for name, _, _ in listed) if name not in skipped]
    return arrays._replace(files=tuple(str(base / name) for name in names))


def _list(folder: Path, split: str) -> tuple[Path, list[str], list[list[_File]]]:
    """Return the folder that contains the class folders, the classes, and the files of each."""
    if _splits_by_prefix(folder):
        classes = _class_names(folder)
        return folder, classes, [_files_with_prefix(folder / name, split) for name in classes]
    classes = _classes(folder)
    return folder / split, classes, [_files(folder / split / name) for name in classes]


def _splits_by_prefix(folder: Path) -> bool:
    """Return whether there is neither `train` nor `test`, but a file with one of `PREFIXES`."""
    if any((folder / split).exists() for split in PREFIXES):
        return False
    return any(True for prefix in _KNOWN for _ in folder.glob(f"*/{prefix}*"))


def _class_names(folder: Path) -> list[str]:
    # A dangling symbolic link is an error: it may be a class.
    return sorted(e.name for e in _visible(folder) if stat.S_ISDIR(e.stat().st_mode))


def _classes(folder: Path) -> list[str]:
    """Return the sorted names of the classes; check that train and test have the same ones."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is a file, not a folder. Give the folder that contains train and test; "
            "unpack an archive first."
        )
    names = {}
    for split in ("train", "test"):
        if not (folder / split).is_dir():
            file = " (it is a file)" if (folder / split).exists() else ""
            raise DataError(
                f"The folder {folder} has no folder {split!r}{file}. It must contain two folders, "
                "train and test, each with one folder of images for every class."
            )
        names[split] = _class_names(folder / split)
        if not names[split]:
            raise DataError(
                f"The folder {folder / split} has no class folders. Put the images of each class "
                f"into a folder named after it: {folder / split}/<class>/<image>."
            )
    missing = [
        f"{folder / other} has no {quoted(extra)}"
        for one, other in itertools.permutations(("train", "test"))
        if (extra := sorted(set(names[one]) - set(names[other])))
    ]
    if missing:
        raise DataError(
            f"The classes of train and test differ: {', and '.join(missing)}. Both need one folder "
            "for every class, with the same names."
        )
    return names["train"]


def _files(folder: Path) -> list[_File]:
    """Return the images of one class, sorted by name."""
    files = []
    for entry in _visible(folder):
        try:
            found = entry.stat()
        except OSError:  # a dangling symbolic link: treated as a broken image
            files.append((entry.name, -1, -1))
            continue
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise DataError(
                f"{entry.path} is {kind} among the images of a class. A class folder must contain "
                "only image files: move it away."
            )
        files.append((entry.name, found.st_size, found.st_mtime_ns))
    if not files:
        raise DataError(
            f"The class folder {folder} is empty. Put images into it, or remove the class from "
            "both train and test."
        )
    return sorted(files)


def _files_with_prefix(folder: Path, split: str) -> list[_File]:
    """Return the files of `_files` whose names have a prefix of this split."""
    files = _files(folder)
    for name, _, _ in files:
        if not name.startswith(_KNOWN):
            raise DataError(
                f"The name of {folder / name} does not begin with {' or '.join(_KNOWN)}. Other "
                "files of this data set do: the prefix distinguishes training from test images. "
                "Rename it, or move all images into two folders, train/<class> and test/<class>."
            )
    chosen = [file for file in files if file[0].startswith(PREFIXES[split])]
    if not chosen:
        raise DataError(
            f"The class folder {folder} has no file whose name begins with "
            f"{' or '.join(PREFIXES[split])}: the {split} split needs images of every class."
        )
    return chosen


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))
