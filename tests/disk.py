"""A disk that is full at a chosen moment, and a record of what is synced when."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, call: str) -> Iterator[None]:
    """Let the n-th call of a kind find the disk full: "mkdir 1", "write 2", "fsync 3", ..."""
    kind, number = call.split()
    left = int(number)

    def full(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if kind == "write":
            opens = Path.open

            class File:
                def __init__(self, path: Path, mode: str) -> None:
                    self.file = opens(path, mode)

                def __enter__(self) -> "File":
                    return self

                def __exit__(self, *_: object) -> None:
                    self.file.close()

                def write(self, content: bytes) -> None:
                    self.file.write(content[: len(content) // 2])
                    full()
                    self.file.write(content[len(content) // 2 :])

                def __getattr__(self, name: str) -> object:
                    return getattr(self.file, name)

            patch.setattr(Path, "open", lambda path, mode: File(path, mode))
        else:
            works = getattr(os, kind)
            patch.setattr(os, kind, lambda *given, **more: (full(), works(*given, **more))[1])
        yield
    assert left <= 0, f"there was no {call}"


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int | str]]:
    """Yield a list that grows by the inode of what is synced, and by "rename" at each renaming."""
    calls: list[int | str] = []

    def record(kind: str) -> None:
        works = getattr(os, kind)

        def called(first, *rest, **more):
            calls.append(os.fstat(first).st_ino if kind == "fsync" else "rename")
            return works(first, *rest, **more)

        patch.setattr(os, kind, called)

    with monkeypatch.context() as patch:
        for kind in ("fsync", "rename", "replace"):
            record(kind)
        yield calls
