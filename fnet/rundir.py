"""A run's directory: its config, environment, metrics, weights and result. Never overwritten.

| file | content |
| --- | --- |
| `config.json` | the recipe, the variant, the complete config, the data set |
| `environment.json` | versions, device, threads, precision, compile mode, as resolved |
| `metrics.jsonl` | one JSON object for each epoch, written as soon as it ends |
| `final.safetensors`, `best.safetensors` | the weights last reached, and those of the best epoch |
| `result.json` | how the run ended, the final and the best figures |
"""

import json
from pathlib import Path
from typing import Any

from fnet.checkpoint import save_weights, write_atomically
from fnet.environment import ConfigError
from fnet.nn import Model, Params


def new_directory(out: Path, name: str) -> Path:
    """Make `out/name`, or `out/name-2`, `out/name-3`, ... where that is taken, and return it.

    Raises:
        ConfigError: the directory cannot be made.
    """
    number = 1
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
    """A new directory for one run, with a name that no other run has (see `new_directory`)."""

    def __init__(self, out: Path, name: str) -> None:
        self.path = new_directory(out, name)

    def write_json(self, name: str, record: dict[str, Any]) -> None:
        """Write one of the JSON files."""
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.path / name, text.encode())

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def write_weights(self, name: str, model: Model, params: Params) -> None:
        """Write `name.safetensors`."""
        save_weights(self.path / f"{name}.safetensors", model, params)
