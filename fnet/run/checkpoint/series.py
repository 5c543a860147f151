"""The checkpoints of a run: the newest few are kept, and the newest undamaged one is restored."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fnet.files import sync_directory, temporary_beside
from fnet.run.checkpoint.errors import CheckpointError, DamagedError
from fnet.run.checkpoint.format import restore_state, save_state
from fnet.run.write_errors import write_error
from fnet.tree import Tree

_NAME = re.compile(r"step-(\d{8,})", re.ASCII)
_LEFTOVER = re.compile(r"\.step-\d{8,}\.\d+-[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True)
class Restored:
    """A checkpoint that was restored.

    Attributes:
        step: the step after which the state was saved.
        state: the state, with the structure, devices and strides of `like`.
        note: the note saved with it.
        damaged: for each newer checkpoint, why it was skipped.
    """

    step: int
    state: Tree
    note: Any
    damaged: tuple[str, ...]


class Checkpoints:
    """The checkpoints `step-00000390`, ... in one directory (see `save_state`).

    Other files in the directory are not touched. Only one process may write there at a time: the
    one that holds the run's lock (`run_lock`).

    >>> import tempfile, torch
    >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()), keep=2)
    >>> for step in (10, 20, 30):
    ...     checkpoints.save(step, {"weight": torch.full((2,), float(step))})
    >>> checkpoints.steps()
    [20, 30]
    >>> checkpoints.restore(like={"weight": torch.zeros(2)}).state
    {'weight': tensor([30., 30.])}
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self._directory, self._keep = directory, keep

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, damaged or not, oldest first.

        Raises:
            CheckpointError: the directory cannot be read.
        """
        found = [(name, _NAME.fullmatch(name)) for name in self._names()]
        steps = [(name, int(match[1])) for name, match in found if match]
        return sorted(step for name, step in steps if name == self._path(step).name)

    def save(self, step: int, state: Tree, note: Any = None) -> None:
        """Write the checkpoint of a step, and then remove all but the newest `keep` up to it.

        An undamaged checkpoint of this step is kept, because the same step of a run is the same
        state. Temporary files of interrupted writes are removed.

        Raises:
            CheckpointError: it cannot be written, or an old one cannot be removed. The previous
                checkpoints are intact.
        """
        path = self._path(step)
        self._prepare()
        if not _is_whole(path, state):
            if os.path.lexists(path):
                _remove(path)
            save_state(path, state, note)
        # Newer checkpoints are damaged, else the run would have resumed from them: don't count.
        for old in [other for other in self.steps() if other <= step][: -self._keep]:
            _remove(self._path(old))

    def restore(self, like: Tree) -> Restored | None:
        """Return the newest undamaged checkpoint, or None if there are no checkpoints.

        Args:
            like: a state with the structure, devices and strides of the result.

        Raises:
            CheckpointError: all checkpoints are damaged, or the newest undamaged one cannot be used
                (see `restore_state`).
        """
        damaged: list[str] = []
        for step in reversed(self.steps()):
            try:
                state, note = restore_state(self._path(step), like)
            except DamagedError as error:
                damaged.append(str(error))
            else:
                return Restored(step, state, note, tuple(damaged))
        if not damaged:
            return None
        raise CheckpointError(
            f"all checkpoints in {self._directory} are damaged: {'; '.join(damaged)}: restore one "
            "from a backup, or train again"
        )

    def discard_after(self, step: int) -> None:
        """Remove the checkpoints of later steps, because the run resumes from this one.

        Raises:
            CheckpointError: one cannot be removed.
        """
        for later in self.steps():
            if later > step:
                _remove(self._path(later))

    def _path(self, step: int) -> Path:
        return self._directory / f"step-{step:08d}"

    def _names(self) -> list[str]:
        if self._directory.is_symlink():
            raise CheckpointError(
                f"{self._directory} is a symbolic link; checkpoints are not removed in other "
                "directories: replace the link by a directory"
            )
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(
                f"cannot read {self._directory}: {error.strerror}: make it a directory that you "
                "have permission to read"
            ) from error

    def _prepare(self) -> None:
        """Create the directory, or remove the temporary files of interrupted writes in it."""
        for name in self._names():
            if _LEFTOVER.fullmatch(name):
                _delete(self._directory / name)
        if not self._directory.exists():
            with _explained("create", self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
                sync_directory(self._directory.parent)


def _is_whole(path: Path, state: Tree) -> bool:
    try:
        restore_state(path, like=state)
    except DamagedError:
        return False
    return True


def _remove(path: Path) -> None:
    """Remove a checkpoint: first rename it atomically, so that no partial one has its name."""
    aside = temporary_beside(path)
    with _explained("remove", path):
        path.rename(aside)
    _delete(aside)


def _delete(path: Path) -> None:
    """Delete a temporary file or directory; if this fails, the next save tries again."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def _explained(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(write_error(f"{action} {path}", error.strerror)) from error
