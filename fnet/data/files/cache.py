"""Decoded arrays on disk, memory-mapped: a data set is decoded once, then opened in a moment.

An entry is a directory named after its source and the source's fingerprint: the bare elements of
both arrays, and beside them a JSON file with what they are and the checksums of everything. It is
written under another name and then renamed, so an entry is whole or absent, whoever else is
writing it, and whenever a writer is killed.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import platformdirs

from fnet import files
from fnet.data.dataset import DataWarning

VERSION = 4  # of the files' layout and of how images are decoded: no other version is read

_SCRATCH = ".building-"
_ABANDONED_SECONDS = 24 * 3600  # after which nobody is writing any more


class Arrays(NamedTuple):
    """A decoded data set.

    Attributes:
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        classes: their names.
        skipped: the names of the broken files that were left out.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def cache_dir() -> Path:
    """Return the cache's directory: `FNET_CACHE`, else one in the user's cache directory."""
    chosen = os.environ.get("FNET_CACHE")
    return Path(chosen) if chosen else user_cache("decoded")


def user_cache(name: str) -> Path:
    """Return the directory of this name in the user's cache directory.

    A user without a home has it where the system keeps temporary files.
    """
    found = platformdirs.user_cache_dir("fnet")
    if found.startswith("~"):  # what cannot be expanded is left as it is
        found = os.path.join(tempfile.gettempdir(), f"fnet-{os.getuid()}")
    return Path(found, name)


def fingerprint(files: list[tuple[str, int, int]]) -> str:
    """Return a digest of a list of files, each a (name, size in bytes, time of change in ns).

    >>> fingerprint([("a", 1, 2)]) == fingerprint([("a", 1, 3)])
    False
    """
    return blake2b(json.dumps(files).encode(), digest_size=8).hexdigest()


def cached(source: str, files: list[tuple[str, int, int]], build: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of a source, memory-mapped, building them if they are not in the cache.

    An entry is used if it was built from these very files and has the checksums it was written
    with (0.2 s for 200 MB); any other is built again. Writing to the arrays changes memory only
    (copy on write). If the cache cannot be written, a `DataWarning` says so and the arrays stay
    in memory.

    Args:
        source: what identifies the source, such as its full path and the split.
        files: what the source consists of, see `fingerprint`.
        build: decodes the source.
    """
    readable = "".join(c if c.isalnum() else "-" for c in source)[-40:].strip("-")
    digest = blake2b(json.dumps(source).encode(), digest_size=8).hexdigest()
    prefix = f"{readable}-{digest}-"
    entry = cache_dir() / (prefix + fingerprint(files))
    arrays = _read(entry)
    if arrays is not None:
        return arrays
    built = build()
    try:
        _write(entry, built)
    except OSError as error:
        # Without the error's file, a scratch directory: the text is to be the same for all splits.
        warnings.warn(
            f"The decoded images are kept in memory only, the next start decodes them again: the "
            f"cache {cache_dir()} cannot be written ({error.strerror or error}). "
            "Set FNET_CACHE to a directory that can.",
            DataWarning,
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
        meta = files.loads((entry / "meta.json").read_text(encoding="ascii"))
        if meta["version"] != VERSION:
            return None
        # "c", copy on write: torch warns about arrays that it cannot write to.
        images = np.memmap(entry / "images", np.uint8, "c", shape=tuple(meta["shape"]))
        labels = np.memmap(entry / "labels", np.int64, "c", shape=images.shape[:1])
        arrays = Arrays(images, labels, tuple(meta["classes"]), tuple(meta["skipped"]))
        return arrays if _describe(arrays) == meta else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write(entry: Path, arrays: Arrays) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(entry.parent)
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=entry.parent))
    try:
        new = scratch / "new"
        new.mkdir()
        arrays.images.tofile(new / "images")
        arrays.labels.tofile(new / "labels")
        (new / "meta.json").write_text(files.dumps(_describe(arrays)), encoding="ascii")
        _replace(entry, new, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_abandoned(cache: Path) -> None:
    """Remove what writers that were killed have left."""
    for left in cache.glob(_SCRATCH + "*"):
        with contextlib.suppress(OSError):  # another process has just removed it
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


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


def _describe(arrays: Arrays) -> dict[str, Any]:
    return {
        "version": VERSION,
        "shape": list(arrays.images.shape),
        "checksums": [files.checksum([np.ascontiguousarray(array)]) for array in arrays[:2]],
        "classes": list(arrays.classes),
        "skipped": list(arrays.skipped),
    }
