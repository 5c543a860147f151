"""Atomic writes of files and directories, also safe in a power cut; JSON with a checksum.

`dumps` and `loads` are for files that people and other programs read too. Their checksum covers the
content, not the bytes: whitespace, the order of entries and the notation of numbers may change, as
in any JSON. If the content changes, `loads` raises an error. `loads_exactly` detects every changed
byte.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

_CHECKSUM, _OLD_CHECKSUM = "sha256", "crc32"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: to a temporary file in the same directory, fsync, then rename."""
    temporary = temporary_beside(path)
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def directory_atomically(path: Path) -> Iterator[Path]:
    """Yield a new temporary directory, and rename it to `path` when the block ends without error.

    If the block raises, the directory is removed. The block writes its files with `write_synced`.

    Raises:
        FileExistsError: `path` exists already.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "whole")
    >>> with directory_atomically(path) as directory:
    ...     write_synced(directory / "a", b"1")
    >>> [file.name for file in path.iterdir()]
    ['a']
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temporary = temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        sync_directory(temporary)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_directory(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and fsync its content; its directory entry needs `sync_directory`."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Fsync a directory, so that the disk has its entries; do nothing where this is impossible."""
    if os.name == "nt":  # Windows cannot open a directory
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot fsync a directory, and have nothing to sync.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def open_regular(path: Path, *, links: bool = False) -> BufferedReader:
    """Open a regular file for reading.

    A symbolic link is refused because it may point anywhere, a pipe because reading it may hang.

    Args:
        path: the file.
        links: whether it may be a link to a regular file.

    Raises:
        OSError: the path is not a regular file, or cannot be opened.
    """
    if not links and path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # not every system has all of them
        if not (links and name == "O_NOFOLLOW"):
            flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def temporary_beside(path: Path) -> Path:
    """Return a new name in the same directory: ".name.pid-random"."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")


def dumps(content: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return the content as JSON, with a last entry "sha256": 64 hexadecimal digits.

    The SHA-256 is computed from the content without this entry, as canonical JSON: sorted keys, no
    spaces, ASCII. The returned text is ASCII too, so that a file name that is not valid Unicode is
    restored unchanged.

    Args:
        content: JSON values by name; no name may be "sha256". NaN and infinities as in `json`.
        indent: as in `json`.

    >>> dumps({"epoch": 3})[:26]
    '{"epoch": 3, "sha256": "54'
    """
    return json.dumps({**content, _CHECKSUM: checksum([_canonical(content)])}, indent=indent)


def loads(text: str) -> dict[str, Any]:
    """Return the content that `dumps` was given.

    Raises:
        ValueError: the text is not a JSON object, or its checksum is missing or wrong.

    >>> loads(dumps({"epoch": 3}))
    {'epoch': 3}
    """
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        name = _CHECKSUM if _CHECKSUM in content else _OLD_CHECKSUM
        if name not in content:
            raise ValueError("it has no checksum")
        recorded = content.pop(name)
        if not has_checksum([_canonical(content)], recorded):
            raise ValueError("its checksum is wrong")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def loads_exactly(text: bytes) -> dict[str, Any]:
    """Return the argument of the `dumps` that wrote this text, if no byte has changed since.

    Raises:
        ValueError: a byte was changed, lost or added.

    >>> loads_exactly(dumps({"epoch": 3}).encode() + b" ")
    Traceback (most recent call last):
    ValueError: its checksum is wrong
    """
    try:
        content = loads(text.decode("ascii"))
    except ValueError:
        content = {}
    if dumps(content).encode() != text:
        raise ValueError("its checksum is wrong")
    return content


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii")


def checksum(parts: Iterable[Any]) -> str:
    """Return the SHA-256 of bytes, arrays or other contiguous buffers, one after the other.

    As 64 hexadecimal digits. The 184 MB of CIFAR-10 take 0.18 to 0.25 s (CRC-32: 0.07 to 0.13 s;
    three times each, one core of an AMD EPYC with instructions for SHA): nothing in a run.

    >>> checksum([b"ab", b"c"])[:16]
    'ba7816bf8f01cfea'
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(_flat(part))
    return digest.hexdigest()


def has_checksum(parts: Iterable[Any], recorded: object) -> bool:
    """Return whether these bytes have the recorded checksum.

    Args:
        parts: see `checksum`.
        recorded: what `checksum` returned; or, as older versions of fnet recorded it, the CRC-32
            in 8 hexadecimal digits.
    """
    if not isinstance(recorded, str) or len(recorded) != 8:
        return recorded == checksum(parts)
    value = 0
    for part in parts:
        value = zlib.crc32(_flat(part), value)
    return recorded == f"{value:08x}"


def _flat(part: Any) -> memoryview:
    view = memoryview(part)
    return view.cast("B") if view.nbytes else memoryview(b"")
