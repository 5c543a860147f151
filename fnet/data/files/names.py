"""The rule which files of a folder are images: by the suffix, or by the first bytes without one."""

import os
from collections.abc import Sequence
from pathlib import PurePath

from fnet.data.dataset import quoted
from fnet.data.files.decode import SUFFIXES

_UNREAD = (
    *(".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".ico", ".j2k", ".jp2", ".jxl"),
    *(".nef", ".psd", ".raf", ".svg", ".tga", ".xcf"),
)
"""Suffixes of image formats that fnet does not read."""

_BEGINNINGS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")


def is_image(entry: os.DirEntry[str]) -> bool:
    """Return whether a file is an image by its name; without a suffix, by its first bytes.

    A name that begins with a dot is not one: ".DS_Store", "._photo.jpg".
    """
    if entry.name.startswith("."):
        return False
    suffix = PurePath(entry.name).suffix.lower()
    if suffix:
        return suffix in SUFFIXES
    try:
        with open(entry.path, "rb") as file:
            begin = file.read(12)
    except OSError:
        return True  # reading it as an image names the problem
    return begin.startswith(_BEGINNINGS) or (begin[:4] == b"RIFF" and begin[8:] == b"WEBP")


def passed_over(names: Sequence[str]) -> str:
    """Return one line about the files of a folder that are no images by name.

    >>> passed_over(["cat/Thumbs.db", "cat/a.HEIC"])  # doctest: +NORMALIZE_WHITESPACE
    "2 files are passed over, because their names are not those of images: 'cat/Thumbs.db',
    'cat/a.HEIC' (1 in a format that fnet does not read, .heic: convert to PNG or JPEG)"
    """
    count = "1 file is" if len(names) == 1 else f"{len(names):,} files are"
    which = (
        "its name is not that of an image"
        if len(names) == 1
        else ("their names are not those of images")
    )
    suffixes = [PurePath(name).suffix.lower() for name in names]
    unread = [suffix for suffix in suffixes if suffix in _UNREAD]
    convert = (
        f" ({len(unread):,} in a format that fnet does not read, "
        f"{', '.join(sorted(set(unread)))}: convert to PNG or JPEG)"
        if unread
        else ""
    )
    return f"{count} passed over, because {which}: {quoted(names, most=3)}{convert}"
