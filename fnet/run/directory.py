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

Each JSON object has a checksum of itself as its last entry, `crc32` (see `fnet.files`).
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fnet import files
from fnet.data.load import expanded
from fnet.files import write_atomically
from fnet.nn import Model, Params
from fnet.run.checkpoint import CheckpointError, Checkpoints, save_weights
from fnet.run.config import ConfigError

_METRICS = "metrics.jsonl"


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
        self.checkpoints = Checkpoints(path / "checkpoints")

    def write_json(self, name: str, record: dict[str, Any]) -> None:
        """Write one of the JSON files."""
        text = files.dumps(record, indent=2) + "\n"
        with self._written(name) as file:
            write_atomically(file, text.encode())

    def write_metrics(self, lines: Sequence[dict[str, Any]]) -> None:
        """Write `metrics.jsonl` anew, with these lines."""
        text = "".join(files.dumps(line) + "\n" for line in lines)
        with self._written(_METRICS) as file:
            write_atomically(file, text.encode())

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with self._written(_METRICS) as path, path.open("a", encoding="utf-8") as file:
            file.write(files.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._written(name) as file:
            file.unlink(missing_ok=True)

    def write_weights(self, name: str, model: Model, params: Params, epoch: int) -> None:
        """Write `name.safetensors`, the weights of an epoch."""
        with self._written(f"{name}.safetensors") as file:
            save_weights(file, model, params, epoch=epoch)

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
