"""What a run's directory says of the run: read without its weights and its data.

Whatever state the run is in has a record: going on, interrupted, killed while it wrote a line.
"""

import json
import math
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from fnet import files
from fnet.run.config import ConfigError, option
from fnet.run.outcome import Line
from fnet.run.recipe import Recipe

_RESULT = "result.json"
_T = TypeVar("_T")


@dataclass(frozen=True)
class RunRecord:
    """The files of a run's directory but its weights, read.

    Attributes:
        path: the directory.
        setup: `config.json`: the recipe, the variant, the complete config, the data set.
        environment: `environment.json`, empty where that is not there or damaged.
        lines: the whole lines of `metrics.jsonl`, by epoch.
        damaged: how many of its lines are not whole, or lost: of an epoch before the last known.
        result: `result.json`, empty where that is damaged, or the run goes on or was killed.
        unreadable: of these files those that are there and cannot be read, each with the reason.
    """

    path: Path
    setup: Mapping[str, Any]
    environment: Mapping[str, Any]
    lines: tuple[Line, ...]
    damaged: int
    result: Mapping[str, Any]
    unreadable: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.resolve().name

    @property
    def module(self) -> str:
        """The module of the recipe, as recorded."""
        return str(self.setup.get("recipe", "?"))

    @property
    def variant(self) -> str:
        """The variant, or what a study calls the run."""
        return str(self.setup.get("variant", "?"))

    @property
    def config(self) -> Mapping[str, Any]:
        """The complete config, as JSON has it."""
        config = self.setup.get("config")
        return config if isinstance(config, dict) else {}

    @property
    def stand_in(self) -> bool:
        """Whether the data stand in for the recipe's own."""
        return bool(self.setup.get("stand_in"))

    @property
    def inexact(self) -> tuple[str, ...]:
        """What makes it, resumed, another run than one that was never stopped."""
        inexact = self.setup.get("inexact")
        return tuple(map(str, inexact)) if isinstance(inexact, list) else ()

    @property
    def status(self) -> str:
        """How the run ended: "complete", "interrupted", "diverged" or "unfinished" (it goes on, or
        died); "damaged" where its result cannot be read.
        """
        if _RESULT in self.unreadable:
            return "damaged"
        return str(self.result.get("status", "unfinished"))

    @property
    def final(self) -> Line | None:
        """The line of the last whole epoch."""
        return self.lines[-1] if self.lines else None

    @property
    def best(self) -> Line | None:
        """The line of the best epoch, chosen as in training."""
        if not self.lines:
            return None
        chosen_by = f"{'validation' if 'validation_accuracy' in self.lines[0] else 'test'}_accuracy"
        return max(self.lines, key=lambda line: line.get(chosen_by, -math.inf))

    @property
    def reported(self) -> Mapping[str, str]:
        """The original author's figures; none where the run's data are drawn."""
        reported = self.result.get("reported")
        return reported if isinstance(reported, dict) and not self.stand_in else {}


def read_run(path: Path | str) -> RunRecord:
    """Return the record of a run's directory.

    Raises:
        ConfigError: there is no run, or its `config.json` is damaged.
    """
    path = Path(path)
    setup = read_setup(path)
    unreadable: dict[str, str] = {}

    def read(name: str, parse: Callable[[str], _T], nothing: _T) -> _T:
        """Return what a file says; where it is damaged, note why."""
        try:
            return parse((path / name).read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return nothing
        except (OSError, ValueError) as error:
            unreadable[name] = getattr(error, "strerror", None) or str(error)
            return nothing

    environment: dict[str, Any] = read("environment.json", files.loads, {})
    lines, broken = read("metrics.jsonl", _lines, _lines(""))
    result: dict[str, Any] = read(_RESULT, files.loads, {})
    last = result.get("final") or (lines[-1] if lines else {"epoch": 0})
    damaged = max(broken, int(last["epoch"]) - len(lines))
    return RunRecord(path, setup, environment, lines, damaged, result, unreadable)


def read_setup(path: Path) -> dict[str, Any]:
    """Return the `config.json` of a run's directory.

    Raises:
        ConfigError: there is no run, or the file cannot be read or is damaged.
    """
    file = path / "config.json"
    try:
        return files.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
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


def base_variant(record: RunRecord, recipe: Recipe) -> str:
    """Return the variant that a run is told from: its own, or the default for an arm of a study."""
    return record.variant if record.variant in recipe.variants else "default"


def changed_options(record: RunRecord, recipe: Recipe) -> set[str]:
    """Return the names of the options that differ from those of `base_variant`."""
    variant = asdict(recipe.variants[base_variant(record, recipe)])
    base = json.loads(json.dumps(variant))  # tuples are lists in the record
    return {
        name for name, value in record.config.items() if name not in base or value != base[name]
    }


def command(record: RunRecord, recipe: Recipe) -> str:
    """Return the command that makes the same run again, for a POSIX shell.

    A run on a stand-in names that as its data: it is repeated also where the recipe's own data
    can be had by then.
    """
    words = ["python", "-m", record.module, "--variant", base_variant(record, recipe)]
    changed = changed_options(record, recipe) - ({"data"} if record.stand_in else set())
    for name, value in record.config.items():
        if name in changed:
            words += _option(name, value)
    if record.stand_in:
        words += _option("data", record.setup["data"])
    return shlex.join(words)


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option(name if value else f"no_{name}")]
    if isinstance(value, list):
        return [option(name), *map(str, value)]
    return [option(name), str(value)]


def _lines(text: str) -> tuple[tuple[Line, ...], int]:
    """Return the lines that are whole, and how many are not."""
    texts = text.splitlines()
    lines = tuple(line for line in map(_line, texts) if line is not None)
    return lines, len(texts) - len(lines)


def _line(text: str) -> Line | None:
    try:
        line = files.loads(text)
    except ValueError:
        return None
    numbers = all(isinstance(value, int | float) for value in line.values())
    return line if numbers and isinstance(line.get("epoch"), int) else None
