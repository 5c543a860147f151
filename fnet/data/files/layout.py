"""The layout of a folder of images: its splits, its classes, and the files of each class.

Three layouts are known: `train/<class>/*` beside `test/<class>/*` (or `val`), class folders whose
file names have the prefixes of FER2013, and class folders without a split.
"""

import itertools
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fnet.data.dataset import DataError, quoted
from fnet.data.files.names import is_image

PREFIXES = {"train": ("Training_",), "test": ("PublicTest_", "PrivateTest_")}
"""The file name prefixes of each split, used if there are no folders `train` and `test`."""

VALIDATION = ("val", "valid", "validation")
"""Names of the folder that is the test split if there is no folder `test`."""

_KNOWN = tuple(prefix for prefixes in PREFIXES.values() for prefix in prefixes)


class File(NamedTuple):
    """A file or a folder, as far as the cache tells it from another version of itself.

    Attributes:
        name: relative to the folder of the class folders.
        size: in bytes.
        modified, changed: times in ns: of the content, and of the content or the inode.
        inode: its number.
    """

    name: str
    size: int
    modified: int
    changed: int
    inode: int


@dataclass(frozen=True)
class Part:
    """The images of one split, or of a folder without a split.

    Attributes:
        base: the folder that contains the class folders.
        files: the images of each class, sorted by name.
        folders: the class folders.
    """

    base: Path
    files: Mapping[str, Sequence[File]]
    folders: Sequence[File]


@dataclass(frozen=True)
class Layout:
    """The content of a folder of images.

    Attributes:
        classes: the names of the classes, sorted; each has an image in one of the splits.
        parts: by split: "train" and "test", or "all" for a folder without a split.
        ignored: the files that are no images by name.
        empty: the class folders without any image.
        unused: the folders that are not used because another one is the test split.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, Part]
    ignored: tuple[str, ...]
    empty: tuple[str, ...]
    unused: tuple[str, ...] = ()


def has_split(folder: Path) -> bool:
    """Return whether a folder has folders train and test (or val), or FER2013's file names."""
    if not os.path.isdir(folder):
        return False
    return _test_folder(folder) is not None or _splits_by_prefix(folder)


def read_layout(folder: Path) -> Layout:
    """Return the layout of a folder of images.

    Raises:
        DataError: it has none of the known layouts; the message names the file or the folder.
        OSError: a part of it cannot be read.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is a file, not a folder. Give the folder that contains train and test, or "
            "the folders of the classes; unpack an archive first."
        )
    ignored: list[str] = []
    unused: tuple[str, ...] = ()
    if _splits_by_prefix(folder):
        whole = _part(folder, _class_names(folder), folder, ignored)
        parts = {split: _with_prefix(whole, split) for split in PREFIXES}
    elif any(os.path.lexists(folder / name) for name in ("train", "test", *VALIDATION)):
        parts, unused = _split_parts(folder, ignored)
    else:
        names = _class_names(folder)
        if not names:
            raise DataError(
                f"The folder {folder} has no folder 'train' and no class folders. Put the images "
                f"of each class into a folder named after it: {folder}/<class>/<image>."
            )
        parts = {"all": _part(folder, names, folder, ignored)}
    listed = sorted({name for part in parts.values() for name in part.files})
    classes = [name for name in listed if any(part.files.get(name) for part in parts.values())]
    empty = [name for name in listed if name not in classes]
    return Layout(tuple(classes), parts, tuple(sorted(ignored)), tuple(empty), unused)


def _splits_by_prefix(folder: Path) -> bool:
    """Return whether there is no folder of a split, but a file with one of `PREFIXES`."""
    if any((folder / split).exists() for split in ("train", "test", *VALIDATION)):
        return False
    return any(True for prefix in _KNOWN for _ in folder.glob(f"*/{prefix}*"))


def _test_folder(folder: Path) -> str | None:
    """Return the name of the folder with the test split, if there are both splits."""
    found = [name for name in ("test", *VALIDATION) if (folder / name).is_dir()]
    return found[0] if found and (folder / "train").is_dir() else None


def _class_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        # A dangling symbolic link is an error: it may be a class.
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and stat.S_ISDIR(entry.stat().st_mode)
        )


def _split_parts(folder: Path, ignored: list[str]) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Return the parts of a folder with a folder `train`, and the folders that are not used."""
    train = _classes_of(folder, "train")
    found = [name for name in ("test", *VALIDATION) if (folder / name).is_dir()]
    if not found and not os.path.lexists(folder / "test"):
        return {"all": _part(folder / "train", train, folder, ignored)}, ()
    test_name = found[0] if found else "test"
    test = _classes_of(folder, test_name)
    if set(test) - set(train):
        only_train, only_test = sorted(set(train) - set(test)), sorted(set(test) - set(train))
        missing = [f"{folder / test_name} has no {quoted(only_train)}"] if only_train else []
        missing.append(f"{folder / 'train'} has no {quoted(only_test)}")
        raise DataError(
            f"The classes of train and {test_name} differ: {', and '.join(missing)}. A class that "
            "is tested must be trained: give its folders the same name in both, or remove it from "
            f"{test_name}."
        )
    parts = {
        "train": _part(folder / "train", train, folder, ignored),
        "test": _part(folder / test_name, test, folder, ignored),
    }
    return parts, tuple(found[1:])


def _classes_of(folder: Path, split: str) -> list[str]:
    if not (folder / split).is_dir():
        file = " (it is a file)" if (folder / split).exists() else ""
        raise DataError(
            f"The folder {folder} has no folder {split!r}{file}. It must contain two folders, "
            "train and test (or val), each with one folder of images for every class; or only the "
            "folders of the classes, to be split with --test 0.2."
        )
    names = _class_names(folder / split)
    if not names:
        raise DataError(
            f"The folder {folder / split} has no class folders. Put the images of each class "
            f"into a folder named after it: {folder / split}/<class>/<image>."
        )
    return names


def _part(base: Path, classes: list[str], folder: Path, ignored: list[str]) -> Part:
    """Return the images of the class folders in `base`; add the other files to `ignored`."""
    files: dict[str, Sequence[File]] = {}
    for name in classes:
        images: list[File] = []
        with os.scandir(base / name) as entries:
            for entry in entries:
                found = _image(entry)
                if found is not None:
                    images.append(found._replace(name=f"{name}/{entry.name}"))
                elif entry.name.startswith(".") and entry.is_dir():
                    continue
                else:
                    ignored.append(os.path.relpath(entry.path, folder))
        files[name] = sorted(images)
    folders = [_file(name, os.stat(base / name)) for name in (".", *classes)]
    return Part(base, files, folders)


def _image(entry: os.DirEntry[str]) -> File | None:
    """Return an image of a class folder, or None if the entry is something to pass over."""
    if entry.name.startswith("."):
        return None
    try:
        found = entry.stat()
    except OSError:  # a dangling symbolic link: treated as a broken image
        return File(entry.name, -1, -1, -1, -1) if is_image(entry) else None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise DataError(
            f"{entry.path} is {kind} among the images of a class. A class folder must contain "
            "only files: move it away."
        )
    return _file(entry.name, found) if is_image(entry) else None


def _file(name: str, found: os.stat_result) -> File:
    return File(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _with_prefix(whole: Part, split: str) -> Part:
    """Return the images whose names have a prefix of this split."""
    for file in itertools.chain(*whole.files.values()):
        if not os.path.basename(file.name).startswith(_KNOWN):
            raise DataError(
                f"The name of {whole.base / file.name} does not begin with {' or '.join(_KNOWN)}. "
                "Other files of this data set do: the prefix distinguishes training from test "
                "images. Rename it, or move all images into two folders, train/<class> and "
                "test/<class>."
            )
    return Part(
        whole.base,
        {
            name: [f for f in files if os.path.basename(f.name).startswith(PREFIXES[split])]
            for name, files in whole.files.items()
        },
        whole.folders,
    )
