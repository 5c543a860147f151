"""A cache of decoded arrays on disk, memory-mapped: a data set is decoded only once.

An entry is a directory named after its source and the source's fingerprint. It contains the raw
elements of both arrays, and a JSON file with their metadata and checksums. It is written under a
temporary name and then renamed atomically, so an entry is complete or absent, also if several
processes write it or a writer is killed.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import platformdirs

from fnet import files
from fnet.data.dataset import DataWarning

VERSION = 4  # of the file format and of the decoding: entries of another version are not read

_SCRATCH = ".building-"
_ABANDONED_SECONDS = 24 * 3600  # an older scratch directory belongs to a process that was killed


class Arrays(NamedTuple):
    """A decoded data set.

    Attributes:
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        classes: the names of the classes.
        skipped: the names of the broken files that were skipped.
        files: the path of each image's file; not stored in the cache.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


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


def fingerprint(files: Sequence[tuple[str | int, ...]]) -> str:
    """Return a digest of a list of files, each with what tells it from another one of its name.

    That is the size in bytes, the modification time in ns, the change time in ns and the inode: a
    file that is exchanged for one of the same size and modification time has another inode, and a
    file that is overwritten has another change time.

    >>> fingerprint([("a", 1, 2)]) == fingerprint([("a", 1, 3)])
    False
    """
    return blake2b(json.dumps(files).encode(), digest_size=8).hexdigest()


def cached(
    source: str, files: Sequence[tuple[str | int, ...]], build: Callable[[], Arrays]
) -> Arrays:
    """Return the arrays of a source, memory-mapped; build them on a cache miss.

    A cache hit is an entry built from exactly these files whose checksums match (0.2 s for
    200 MB). The memory map is copy-on-write: writing to the arrays does not change the files. If
    the cache cannot be written, a `DataWarning` says so and the arrays stay in memory.

    Args:
        source: a unique name of the source, such as its full path and the split.
        files: the files of the source, see `fingerprint`.
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
        # Without error.filename, a scratch directory: both splits must give the same text, which
        # is shown once.
        warnings.warn(
            f"The cache {cache_dir()} cannot be written ({error.strerror or error}): the decoded "
            "images are kept in memory only, and the next start decodes them again. "
            "Set FNET_CACHE to a directory that can be written.",
            DataWarning,
            stacklevel=2,
        )
        return built
    for old in entry.parent.glob(prefix + "*"):
        if old.name != entry.name:
            shutil.rmtree(old, ignore_errors=True)
    return _read(entry) or built


def _read(entry: Path) -> Arrays | None:
    """Return the arrays of an entry, or None if it is absent, of another version, or damaged."""
    try:
        meta = files.loads((entry / "meta.json").read_text(encoding="ascii"))
        if meta["version"] != VERSION:
            return None
        # "c", copy-on-write: torch warns about read-only arrays.
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
    """Remove the scratch directories of writers that were killed."""
    for left in cache.glob(_SCRATCH + "*"):
        with contextlib.suppress(OSError):  # another process has just removed it
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _replace(entry: Path, new: Path, scratch: Path) -> None:
    """Rename `new` to `entry`, unless another process has already written a valid entry."""
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
