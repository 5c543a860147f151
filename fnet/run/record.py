"""The record of a run: the JSON files of its run directory, read without weights and data.

A run has a record in every state: running, interrupted, or killed while it wrote a line.
"""

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from fnet import files
from fnet.run.config import option
from fnet.run.directory import CHECKPOINTS, ENVIRONMENT, METRICS, RESULT, read_setup, read_text
from fnet.run.recipe import Recipe
from fnet.run.schema import Environment, Line, Result, Setup, best_line
from fnet.run.typed_json import from_json

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunRecord:
    """The content of the JSON files in a run directory.

    Attributes:
        path: the run directory.
        setup: `config.json`.
        environment: `environment.json`; None if it is missing or damaged.
        lines: the undamaged lines of `metrics.jsonl`, one for each epoch.
        damaged: the number of damaged or missing lines of epochs up to the last known one.
        result: `result.json`; None if it is damaged, or the run is still running or was killed.
        unreadable: the files that exist but cannot be read, each with the reason.
    """

    path: Path
    setup: Setup
    environment: Environment | None
    lines: tuple[Line, ...]
    damaged: int
    result: Result | None
    unreadable: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.path.resolve().name

    @property
    def module(self) -> str:
        """The module of the recipe, as recorded."""
        return self.setup.recipe

    @property
    def variant(self) -> str:
        """The variant, or the label of the run in a study."""
        return self.setup.variant

    @property
    def config(self) -> Mapping[str, Any]:
        """The complete config, as JSON values."""
        return self.setup.config

    @property
    def data(self) -> str:
        """The name of the data set."""
        return self.setup.data

    @property
    def stand_in(self) -> bool:
        """Whether the data set is a stand-in for the recipe's own."""
        return self.setup.stand_in

    @property
    def inexact(self) -> tuple[str, ...]:
        """Why the resumed run is not bit for bit one that was never stopped."""
        return self.setup.inexact

    @property
    def status(self) -> str:
        """The status: "complete", "stopped at target", "interrupted", "diverged", "unfinished"
        (still running, or killed), or "damaged" if the result cannot be read.
        """
        if RESULT in self.unreadable:
            return "damaged"
        return self.result.status if self.result else "unfinished"

    @property
    def final(self) -> Line | None:
        """The line of the last complete epoch."""
        return self.lines[-1] if self.lines else None

    @property
    def best(self) -> Line | None:
        """The line of the best epoch, by the same rule as in training."""
        return best_line(self.lines)

    @property
    def begun(self) -> bool:
        """Whether the run has got so far that it has something to resume."""
        if self.lines or self.damaged or self.result or self.unreadable.keys() - {ENVIRONMENT}:
            return True
        return os.path.lexists(self.path / CHECKPOINTS)

    @property
    def curves(self) -> list[dict[str, float]]:
        """The figures of each line, for plots."""
        return [line.figures() for line in self.lines]

    @property
    def reported(self) -> Mapping[str, str]:
        """The original author's figures; empty if the data set is a stand-in."""
        return self.result.reported if self.result and not self.stand_in else {}


def read_run(path: Path | str) -> RunRecord:
    """Return the record in a run directory.

    Raises:
        ConfigError: it is not a run directory, or its `config.json` is damaged.
    """
    path = Path(path)
    setup = read_setup(path)
    unreadable: dict[str, str] = {}

    def read(name: str, parse: Callable[[str], _T], nothing: _T) -> _T:
        """Return the parsed content of a file; if it is damaged, note why in `unreadable`."""
        try:
            return parse(read_text(path / name).decode("utf-8", errors="replace"))
        except FileNotFoundError:
            return nothing
        except (OSError, ValueError) as error:
            unreadable[name] = getattr(error, "strerror", None) or str(error)
            return nothing

    environment = read(ENVIRONMENT, _environment, None)
    lines, broken = read(METRICS, _lines, _lines(""))
    result = read(RESULT, _result, None)
    last = result.final if result and result.final else lines[-1] if lines else None
    damaged = max(broken, (last.epoch if last else 0) - len(lines))
    return RunRecord(path, setup, environment, lines, damaged, result, unreadable)


def base_variant(record: RunRecord, recipe: Recipe) -> str:
    """Return the variant to compare a run with: its own, or the default for an arm of a study."""
    name = recipe.variant(record.variant)
    return name if name in recipe.variants else "default"


def complete_config(record: RunRecord, recipe: Recipe) -> dict[str, Any]:
    """Return the options of a run, with the defaults of options newer than the run.

    These have the default of the config class, which is what the run did, and not that of the
    variant, which may have changed since.
    """
    return _as_json(type(recipe.variants[base_variant(record, recipe)])()) | dict(record.config)


def base_options(record: RunRecord, recipe: Recipe) -> dict[str, Any]:
    """Return the options of `base_variant`, as JSON has them."""
    return _as_json(recipe.variants[base_variant(record, recipe)])


def is_on_authors_data(record: RunRecord, recipe: Recipe) -> bool:
    """Return whether the run used the data set of the author's figures.

    A folder is somebody's own, whatever it is called.
    """
    named = record.config.get("data", "auto") in ("auto", recipe.data)
    return named and not record.stand_in and record.setup.data == recipe.data


def changed_options(record: RunRecord, recipe: Recipe) -> set[str]:
    """Return the names of the options that differ from those of `base_variant`."""
    base = base_options(record, recipe)
    config = complete_config(record, recipe)
    return {name for name, value in config.items() if name not in base or value != base[name]}


def _as_json(config: Any) -> dict[str, Any]:
    """Return a config as a record has it: tuples are lists."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values


def command(record: RunRecord, recipe: Recipe) -> str:
    """Return the command that repeats the run, for a POSIX shell.

    For a run on a stand-in, the command has this data set as `--data`, so that it repeats the same
    run even if the recipe's own data have become available.
    """
    processes = record.environment.processes if record.environment else 1
    words = [*record.setup.origin.words_of(processes), "--variant", base_variant(record, recipe)]
    changed = changed_options(record, recipe) - ({"data"} if record.stand_in else set())
    for name, value in complete_config(record, recipe).items():
        if name in changed:
            words += _option(name, value)
    if record.stand_in:
        words += _option("data", record.setup.data)
    return shlex.join(words)


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option(name if value else f"no_{name}")]
    if isinstance(value, list):
        return [option(name), *map(str, value)]
    return [option(name), str(value)]


def _environment(text: str) -> Environment | None:
    return from_json(Environment, files.loads(text))


def _result(text: str) -> Result | None:
    return from_json(Result, files.loads(text))


def _lines(text: str) -> tuple[tuple[Line, ...], int]:
    """Return the undamaged lines, and the number of damaged ones."""
    texts = text.splitlines()
    lines = tuple(line for line in map(_line, texts) if line is not None)
    return lines, len(texts) - len(lines)


def _line(text: str) -> Line | None:
    try:
        return from_json(Line, files.loads(text))
    except ValueError:
        return None
