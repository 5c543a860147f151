"""The lock of a run directory: only one process can write; a dead process holds no lock."""

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
    """Hold the lock of a run directory within the context.

    The system releases the lock when the process ends, also when it is killed. The file `.lock`
    stays.

    Raises:
        RunLockedError: another process or this one already holds the lock; this does not wait.
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
            f"cannot lock {directory}: {error.strerror or error}: give a directory that you have "
            "permission to write to"
        ) from error
    try:
        # The file is only for the message: if it cannot be written, the lock is held anyway.
        with suppress(OSError):
            holder.unlink(missing_ok=True)
            holder.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _holder(file: Path) -> str:
    """Return "process 1234", or "another process" if the process id is not known."""
    with suppress(OSError), open_regular(file) as opened:
        pid = opened.read(20).strip()
        if pid.isdigit():
            return f"process {pid.decode()}"
    return "another process"
