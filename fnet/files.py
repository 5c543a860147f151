"""Files and directories on disk that are whole or not there, also after a power cut."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write the file under a temporary name beside it, sync, and rename: all of it or nothing."""
    temporary = temporary_beside(path)
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def directory_atomically(path: Path) -> Iterator[Path]:
    """Yield a new directory beside `path`, which gets that name once the block has ended well.

    Otherwise nothing is left of it. The block writes its files with `write_synced`.

    Raises:
        FileExistsError: there is something of that name already.

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
    """Write the file, and return when the disk has its content (not yet its name)."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Return when the disk has the names in a directory, where the system can say."""
    if os.name == "nt":  # where a directory cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory, and have nothing to sync.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read, unless it is a link, which may lead anywhere, or a pipe, which may hang.

    Raises:
        OSError: it is one of these or a directory, or cannot be opened.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # those that the system has
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def temporary_beside(path: Path) -> Path:
    """Return a new name in the same directory: ".name.pid-random"."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
