"""Decoded arrays on disk, memory-mapped: a data set is decoded once, then opened in a moment.

An entry is a directory named after its source and the source's fingerprint. It is written under
another name and then renamed, so an entry is whole or absent, whoever else is writing it.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

VERSION = 1  # of the files' layout: an entry of another version is not read


class Arrays(NamedTuple):
    """A decoded data set: images uint8 `[N, H, W, C]`, labels int64 `[N]`, the classes' names."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def cache_dir() -> Path:
    """Return the cache's directory: `FNET_CACHE`, else one in the user's cache directory."""
    chosen = os.environ.get("FNET_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("fnet"), "decoded")


def fingerprint(files: list[tuple[str, int, int]]) -> str:
    """Return a digest of a list of files, each a (name, size in bytes, time of change in ns).

    >>> fingerprint([("a", 1, 2)]) == fingerprint([("a", 1, 3)])
    False
    """
    return blake2b(json.dumps(files).encode(), digest_size=8).hexdigest()


def cached(source: str, files: list[tuple[str, int, int]], build: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of a source, memory-mapped, building them if they are not in the cache.

    An entry is used if it was built from these very files and its arrays have the checksums they
    were written with (0.1 s for 200 MB); any other is built again. Writing to the arrays changes
    memory only (copy on write). If the cache cannot be written, a warning says so and the arrays
    stay in memory.

    Args:
        source: what identifies the source, such as its full path and the split.
        files: what the source consists of, see `fingerprint`.
        build: decodes the source.
    """
    readable = "".join(c if c.isalnum() else "-" for c in source)[-40:].strip("-")
    prefix = f"{readable}-{blake2b(source.encode(), digest_size=8).hexdigest()}-"
    entry = cache_dir() / (prefix + fingerprint(files))
    arrays = _read(entry)
    if arrays is not None:
        return arrays
    built = build()
    try:
        _write(entry, built)
    except OSError as error:
        warnings.warn(
            f"The decoded images are kept in memory only, the next start decodes them again: the "
            f"cache {cache_dir()} cannot be written ({error}). "
            "Set FNET_CACHE to a directory that can.",
            stacklevel=2,
        )
        return built
    for old in entry.parent.glob(prefix + "*"):
        if old.name != entry.name:
            shutil.rmtree(old, ignore_errors=True)
    return _read(entry) or built


def _read(entry: Path) -> Arrays | None:
    """Return the arrays of an entry, None if it is absent, of another version, or damaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        if meta["version"] != VERSION:
            return None
        # "c", copy on write: torch warns about arrays that it cannot write to.
        images = np.load(entry / "images.npy", mmap_mode="c")
        labels = np.load(entry / "labels.npy", mmap_mode="c")
        arrays = Arrays(images, labels, tuple(meta["classes"]))
        return arrays if _description(arrays) == meta else None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _write(entry: Path, arrays: Arrays) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=entry.parent))
    try:
        new = scratch / "new"
        new.mkdir()
        np.save(new / "images.npy", arrays.images)
        np.save(new / "labels.npy", arrays.labels)
        (new / "meta.json").write_text(json.dumps(_description(arrays)))
        _replace(entry, new, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _replace(entry: Path, new: Path, scratch: Path) -> None:
    """Rename `new` to `entry`, unless a good entry is there: another process was faster."""
    while True:
        try:
            new.rename(entry)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if _read(entry) is not None:
            return
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it
            entry.rename(tempfile.mkdtemp(dir=scratch))


def _description(arrays: Arrays) -> dict[str, object]:
    return {
        "version": VERSION,
        "classes": list(arrays.classes),
        "images": [list(arrays.images.shape), _checksum(arrays.images)],
        "labels": [list(arrays.labels.shape), _checksum(arrays.labels)],
    }


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)
