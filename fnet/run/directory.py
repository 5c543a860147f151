"""A run's directory: all that a run leaves behind. Never overwritten by another run.

| file | content |
| --- | --- |
| `config.json` | the recipe, the variant, the complete config, the data set |
| `environment.json` | versions, device, threads, precision, compile mode, as resolved |
| `metrics.jsonl` | one JSON object for each epoch, written as soon as it ends |
| `final.safetensors`, `best.safetensors` | the weights last reached, and those of the best epoch |
| `checkpoints` | the two last states that the run goes on from, where it is resumed |
| `result.json` | how the run ended, the final and the best figures |
| `report.html` | all of this on one page, see `fnet.run.report` |
| `metrics.csv`, `steps.csv` | with `--log csv`: the metrics of each epoch, and of steps |
| `events.out.tfevents.*` | with `--log tensorboard`: the same, and more |
| `.lock`, `.lock.pid` | held while a process writes to the run, and which one it is |

Each JSON object has a checksum of itself as its last entry, `sha256` (see `fnet.files`).
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
    """Make `out/name`, or `out/name-2`, `out/name-3`, ... where that is taken, and return it.

    Raises:
        ConfigError: the directory cannot be made.
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
                f"cannot make a run directory in --out {out}: {error.strerror}"
            ) from None


class RunDirectory:
    """A directory for one run, made by `new_directory`.

    Attributes:
        path: where it is.
        checkpoints: those of the run.
    """

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
        """Remove `result.json`, if it is there: the run goes on."""
        with self._written(RESULT) as file:
            file.unlink(missing_ok=True)

    def write_metrics(self, lines: Sequence[Line]) -> None:
        """Write `metrics.jsonl` anew, with these lines."""
        text = "".join(files.dumps(to_json(line)) + "\n" for line in lines)
        with self._written(METRICS) as file:
            write_atomically(file, text.encode())

    def append_metrics(self, line: Line) -> None:
        """Add a line to `metrics.jsonl`."""
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
        """Give the path of a file to write, and turn what goes wrong into a message."""
        path = self.path / name
        try:
            yield path
        except OSError as error:
            raise CheckpointError(
                f"cannot write {path}: {error.strerror}: make room, or allow writing there; then "
                f"go on from the last checkpoint with --resume {shlex.quote(str(self.path))}"
            ) from error


def read_text(file: Path) -> bytes:
    """Return the content of a run's JSON file, which may be anything, for anybody may have made it.

    Raises:
        OSError: it is not a regular file, which may never end, or longer than a run's ever is.
    """
    with open_regular(file, links=True) as opened:
        text = opened.read(MAX_TEXT + 1)
    if len(text) > MAX_TEXT:
        raise OSError(errno.EFBIG, f"it has more than {MAX_TEXT // 10**6} MB", str(file))
    return text


def _stopped_in_setup(path: Path) -> bool:
    """Return whether a directory without a `config.json` is one that a run had just made."""
    names = os.listdir(path) if path.is_dir() else []
    return LOCK in names and all(name.startswith(".") or name == ENVIRONMENT for name in names)


def read_setup(path: Path) -> Setup:
    """Return the `config.json` of a run's directory.

    Raises:
        ConfigError: there is no run, the file cannot be read or is damaged, or is no setup.
    """
    file = path / CONFIG
    try:
        content = files.loads(read_text(file).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if _stopped_in_setup(path):
            raise ConfigError(
                f"the run {path} was stopped before it began: there is nothing to go on with, "
                "begin anew"
            ) from None
        raise ConfigError(
            f"{path} is not a run, it has no config.json: give the directory of one run, such as "
            "runs/dainet7-default-s0"
            if os.path.isdir(path)
            else f"there is no run {path}: give the directory that a recipe has printed"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(
            f"{file} is damaged ({error}): it is not what the run wrote, and the run cannot be "
            "opened: bring the file back from a copy, or train again"
        ) from error
    try:
        return from_json(Setup, content)
    except ValueError as error:
        raise ConfigError(
            f"{file} {error}: it is of another version of fnet, or no run of fnet's: open it with "
            "the version that wrote it, or train again"
        ) from error
