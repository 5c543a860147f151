"""One writer for a run's directory: a second process is refused, a dead one does not matter."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fnet.files import open_regular
from fnet.run.checkpoint.errors import CheckpointError, RunLockedError

LOCK, _HOLDER = ".lock", ".lock.pid"


@contextmanager
def run_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of a run's directory while the context lasts.

    The system lets go of it when the process ends, however it ends. The file `.lock` stays.

    Raises:
        RunLockedError: another process holds it, or this one does already; it is not waited for.
        CheckpointError: there is no such directory, or it cannot be locked.

    >>> import tempfile
    >>> with run_lock(Path(tempfile.mkdtemp())):
    ...     pass
    """
    if not directory.is_dir():
        raise CheckpointError(f"cannot lock {directory}: there is no such directory")
    lock = FileLock(directory / LOCK)
    holder = directory / _HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunLockedError(
            f"{_holder(holder)} is writing to the run {directory}: wait until it ends, or stop it"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"cannot lock {directory}: {error.strerror or error}: it must be a directory that can "
            "be written to"
        ) from error
    try:
        # The file only serves the message: who cannot write it has the lock all the same.
        with suppress(OSError):
            holder.unlink(missing_ok=True)
            holder.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _holder(file: Path) -> str:
    """Return "process 1234", or "another process" where that is not known."""
    with suppress(OSError), open_regular(file) as opened:
        pid = opened.read(20).strip()
        if pid.isdigit():
            return f"process {pid.decode()}"
    return "another process"
