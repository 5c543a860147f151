"""The checkpoints of a run: the newest few, of which the newest whole one is gone on from."""

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
from fnet.run.checkpoint.state import restore_state, save_state
from fnet.tree import Tree

_NAME = re.compile(r"step-(\d{8,})", re.ASCII)
_LEFTOVER = re.compile(r"\.step-\d{8,}\.\d+-[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True)
class Restored:
    """What a run goes on from.

    Attributes:
        step: after which the state was saved.
        state: the state, laid out as the run's.
        note: what was saved with it.
        damaged: of each newer checkpoint, why it was passed over.
    """

    step: int
    state: Tree
    note: Any
    damaged: tuple[str, ...]


class Checkpoints:
    """The checkpoints `step-00000390`, ... in a directory of their own (see `save_state`).

    Other names in the directory are left alone. One process may write there at a time: the one
    that holds the run's lock (`run_lock`).

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
        """Return the steps that have a checkpoint, whole or not, oldest first.

        Raises:
            CheckpointError: the directory cannot be read.
        """
        found = [(name, _NAME.fullmatch(name)) for name in self._names()]
        steps = [(name, int(match[1])) for name, match in found if match]
        return sorted(step for name, step in steps if name == self._path(step).name)

    def save(self, step: int, state: Tree, note: Any = None) -> None:
        """Write the checkpoint of a step, and then remove all but the newest `keep` up to it.

        One of this step that is there already, and whole, stays: the same step of a run is the
        same state. What interrupted writing has left behind is removed.

        Raises:
            CheckpointError: it cannot be written, or an old one not removed. Those before it are
                intact.
        """
        path = self._path(step)
        self._prepare()
        if not _is_whole(path, state):
            if os.path.lexists(path):
                _remove(path)
            save_state(path, state, note)
        # Newer ones are damaged, or the run would have gone on from there: they do not count.
        for old in [other for other in self.steps() if other <= step][: -self._keep]:
            _remove(self._path(old))

    def restore(self, like: Tree) -> Restored | None:
        """Return the newest whole checkpoint, laid out as `like`, or None where there are none.

        Raises:
            CheckpointError: there are checkpoints and none is whole, or the newest whole one
                cannot be used (see `restore_state`).
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
            f"none of the checkpoints in {self._directory} is whole: {'; '.join(damaged)}: bring "
            "one back from a copy, or train anew"
        )

    def discard_after(self, step: int) -> None:
        """Remove the checkpoints of later steps, for a run that goes on from this one.

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
                f"{self._directory} is a symbolic link, and checkpoints are not removed elsewhere: "
                "put a directory in its place"
            )
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(
                f"cannot read {self._directory}: {error.strerror}: it must be a directory that "
                "can be read"
            ) from error

    def _prepare(self) -> None:
        """Make the directory, or free the room that interrupted writing has taken."""
        for name in self._names():
            if _LEFTOVER.fullmatch(name):
                _delete(self._directory / name)
        if not self._directory.exists():
            with _explained("make", self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
                sync_directory(self._directory.parent)


def _is_whole(path: Path, state: Tree) -> bool:
    try:
        restore_state(path, like=state)
    except DamagedError:
        return False
    return True


def _remove(path: Path) -> None:
    """Remove a checkpoint: its name first, so that no half of it is ever taken for one."""
    aside = temporary_beside(path)
    with _explained("remove", path):
        path.rename(aside)
    _delete(aside)


def _delete(path: Path) -> None:
    """Delete a leftover as far as that is possible now: the next save tries again."""
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
        raise CheckpointError(
            f"cannot {action} {path}: {error.strerror}: make room or allow writing there, and go "
            "on from the last checkpoint, which is intact"
        ) from error
