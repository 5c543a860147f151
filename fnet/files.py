"""Atomic writes of files and directories, also safe in a power cut; JSON with a checksum.

`dumps` and `loads` are for files that people and other programs read too. Their checksum covers the
content, not the bytes: whitespace, the order of entries and the notation of numbers may change, as
in any JSON. If the content changes, `loads` raises an error. `seal` and `unseal` detect every
changed byte.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

_CHECKSUM = "crc32"
_SEALED = re.compile(rb'\{"sha256":"([0-9a-f]{64})","content":(.*)\}\n', re.DOTALL)


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


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    A symbolic link is refused because it may point anywhere, a pipe because reading it may hang.

    Raises:
        OSError: the path is not a regular file, or cannot be opened.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # not every system has all of them
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
    """Return the content as JSON, with a last entry "crc32": 8 hexadecimal digits.

    The CRC-32 is computed from the content without this entry, as canonical JSON: sorted keys, no
    spaces, ASCII. The returned text is ASCII too, so that a file name that is not valid Unicode is
    restored unchanged.

    Args:
        content: JSON values by name; no name may be "crc32". NaN and infinities as in `json`.
        indent: as in `json`.

    >>> dumps({"epoch": 3})
    '{"epoch": 3, "crc32": "e44cf0fb"}'
    """
    return json.dumps({**content, _CHECKSUM: _checksum(content)}, indent=indent)


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
        if _CHECKSUM not in content:
            raise ValueError("it has no checksum")
        if content.pop(_CHECKSUM) != _checksum(content):
            raise ValueError("its checksum is wrong")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(canonical.encode('ascii')):08x}"


def seal(content: Any) -> bytes:
    """Return `{"sha256": ..., "content": ...}` as JSON, with the SHA-256 of the content's bytes.

    >>> seal([1, "größe"])[-24:]
    b':[1,"gr\\\\u00f6\\\\u00dfe"]}\\n'
    """
    text = json.dumps(content, separators=(",", ":")).encode()
    return b'{"sha256":"%s","content":%s}\n' % (_sha256(text), text)


def unseal(sealed: bytes) -> Any:
    """Return the content that `seal` was given.

    Raises:
        ValueError: a byte was changed, removed or added, or `seal` did not make these bytes.

    >>> unseal(seal({"epoch": 3}))
    {'epoch': 3}
    """
    match = _SEALED.fullmatch(sealed)
    if match is None or _sha256(match[2]) != match[1]:
        raise ValueError("its checksum is wrong")
    try:
        return json.loads(match[2])
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
