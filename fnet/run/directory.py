"""The run directory: all files of a run, never overwritten by another run.

| file | content |
| --- | --- |
| `config.json` | the setup: the recipe, the variant, the complete config, the data set |
| `environment.json` | versions, and the device, threads, precision and compile mode used |
| `metrics.jsonl` | one JSON object for each epoch, written as soon as the epoch ends |
| `final.safetensors`, `best.safetensors` | the final weights, and those of the best epoch |
| `checkpoints` | the last two checkpoints, for `--resume` |
| `result.json` | the status at the end, the final and the best figures |
| `report.html` | all of this on one page, see `fnet.run.report` |
| `metrics.csv`, `steps.csv` | with `--log csv`: the metrics of epochs and of steps |
| `events.out.tfevents.*` | with `--log tensorboard`: the same, images and the graph |
| `.lock`, `.lock.pid` | the lock of the process that writes to the run, and its process id |

The last entry of each JSON object is its checksum, `sha256` (see `fnet.files`).
"""

import errno
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fnet import files
from fnet.data.load import expanded
from fnet.files import open_regular, write_atomically
from fnet.nn import Model, Params
from fnet.run.checkpoint import LOCK, CheckpointError, Checkpoints, save_weights
from fnet.run.config import ConfigError
from fnet.run.schema import Environment, Line, Result, Setup
from fnet.run.typed_json import from_json, to_json
from fnet.run.write_errors import write_error
from fnet.tree import Tree

CONFIG, ENVIRONMENT, METRICS, RESULT = (
    "config.json",
    "environment.json",
    "metrics.jsonl",
    "result.json",
)
CHECKPOINTS, REPORT = "checkpoints", "report.html"

MAX_TEXT = 64_000_000
"""Bytes that a JSON file of a run may have: 150,000 epochs."""


def new_directory(out: Path, name: str) -> Path:
    """Create `out/name`, or `out/name-2`, `out/name-3`, ... if it exists, and return its path.

    Raises:
        ConfigError: the directory cannot be created.
    """
    out, number = expanded(out), 1
    while True:
        path = out / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not out.is_dir():
                raise ConfigError(f"--out {out} is not a directory") from None
            number += 1
        except OSError as error:
            raise ConfigError(
                f"cannot create a run directory in --out {out}: {error.strerror}"
            ) from None


def directories_of(out: Path, name: str) -> list[Path]:
    """Return what `new_directory(out, name)` has created so far, the oldest first."""
    found = []
    path = out / name
    while path.is_dir():
        found.append(path)
        path = out / f"{name}-{len(found) + 1}"
    return found


class RunDirectory:
    """The run directory of one run, created by `new_directory`: writes its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / CHECKPOINTS)

    def write_setup(self, setup: Setup, environment: Environment) -> None:
        """Write `environment.json`, and then `config.json`, which makes the directory a run."""
        self._write_json(ENVIRONMENT, to_json(environment))
        self._write_json(CONFIG, to_json(setup))

    def write_result(self, result: Result) -> None:
        """Write `result.json`."""
        self._write_json(RESULT, to_json(result))

    def remove_result(self) -> None:
        """Remove `result.json`, if it exists, because the run is resumed."""
        with self._written(RESULT) as file:
            file.unlink(missing_ok=True)

    def write_metrics(self, lines: Sequence[Line]) -> None:
        """Replace `metrics.jsonl` by these lines."""
        text = "".join(files.dumps(to_json(line)) + "\n" for line in lines)
        with self._written(METRICS) as file:
            write_atomically(file, text.encode())

    def append_metrics(self, line: Line) -> None:
        """Append a line to `metrics.jsonl`, with fsync."""
        with self._written(METRICS) as path, path.open("a", encoding="utf-8") as file:
            file.write(files.dumps(to_json(line)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_weights(self, name: str, model: Model, params: Params, epoch: int) -> None:
        """Write `name.safetensors`, the weights of an epoch."""
        with self._written(f"{name}.safetensors") as file:
            save_weights(file, model, params, epoch=epoch)

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        text = files.dumps(content, indent=2) + "\n"
        with self._written(name) as file:
            write_atomically(file, text.encode())

    @contextmanager
    def _written(self, name: str) -> Iterator[Path]:
        """Give the path of a file to write, and turn an `OSError` into a `CheckpointError`."""
        path = self.path / name
        try:
            yield path
        except OSError as error:
            advice = (
                " or change the permissions; then continue from the last checkpoint with "
                f"--resume {shlex.quote(str(self.path))}"
            )
            raise CheckpointError(write_error(f"write {path}", error.strerror, advice)) from error


class UnwrittenDirectory(RunDirectory):
    """The run directory in a process that is not the first of its run: it writes nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.checkpoints = _UnwrittenCheckpoints(path / CHECKPOINTS)

    def remove_result(self) -> None:
        """Do nothing."""

    def write_metrics(self, lines: Sequence[Line]) -> None:
        """Do nothing."""

    def append_metrics(self, line: Line) -> None:
        """Do nothing."""

    def write_weights(self, name: str, model: Model, params: Params, epoch: int) -> None:
        """Do nothing."""

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        pass


class _UnwrittenCheckpoints(Checkpoints):
    def save(self, step: int, state: Tree, note: Any = None) -> None:
        pass

    def discard_after(self, step: int) -> None:
        pass


def read_text(file: Path) -> bytes:
    """Return the content of a run's JSON file. Its size is limited: the file may be malicious.

    Raises:
        OSError: it is not a regular file, such as a pipe, or it is longer than `MAX_TEXT`.
    """
    with open_regular(file, links=True) as opened:
        text = opened.read(MAX_TEXT + 1)
    if len(text) > MAX_TEXT:
        raise OSError(errno.EFBIG, f"it has more than {MAX_TEXT // 10**6} MB", str(file))
    return text


def _stopped_in_setup(path: Path) -> bool:
    """Return whether a directory without a `config.json` was made by a run that was then killed."""
    names = os.listdir(path) if path.is_dir() else []
    return LOCK in names and all(name.startswith(".") or name == ENVIRONMENT for name in names)


def read_setup(path: Path) -> Setup:
    """Return the setup in the `config.json` of a run directory.

    Raises:
        ConfigError: it is not a run directory, or the file cannot be read or is damaged.
    """
    file = path / CONFIG
    try:
        content = files.loads(read_text(file).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if _stopped_in_setup(path):
            raise ConfigError(
                f"the run {path} was stopped before it began: there is nothing to resume. "
                "Start a new run"
            ) from None
        raise ConfigError(
            f"{path} is not a run directory, it has no config.json: give the directory of one run, "
            "such as runs/dainet7-default-s0"
            if os.path.isdir(path)
            else f"there is no run {path}: give the run directory that a recipe has printed"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(
            f"{file} is damaged ({error}), so the run cannot be opened: restore the file from a "
            "backup, or train again"
        ) from error
    try:
        return from_json(Setup, content)
    except ValueError as error:
        raise ConfigError(
            f"{file} {error}: it was written by another version of fnet or by another program: "
            "open it with the version that wrote it, or train again"
        ) from error
