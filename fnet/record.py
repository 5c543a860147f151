"""What a run's directory says of the run: read without its weights and its data.

Whatever state the run is in has a record: going on, interrupted, killed while it wrote a line.
"""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fnet.config import option
from fnet.experiment import Recipe
from fnet.run import read_record

Line = Mapping[str, float]
"""The figures of one epoch: a line of `metrics.jsonl`."""


@dataclass(frozen=True)
class RunRecord:
    """The files of a run's directory but its weights, read.

    Attributes:
        path: the directory.
        setup: `config.json`: the recipe, the variant, the complete config, the data set.
        environment: `environment.json`, empty where that cannot be read.
        lines: the whole lines of `metrics.jsonl`, by epoch.
        damaged: how many of its lines are none.
        result: `result.json`, empty where the run goes on or was killed.
    """

    path: Path
    setup: Mapping[str, Any]
    environment: Mapping[str, Any]
    lines: tuple[Line, ...]
    damaged: int
    result: Mapping[str, Any]

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
        """How the run ended: "complete", "interrupted" or "unfinished" (it goes on, or died)."""
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
    lines, damaged = _read_lines(path / "metrics.jsonl")
    return RunRecord(
        path,
        read_record(path),
        _read_object(path / "environment.json"),
        lines,
        damaged,
        _read_object(path / "result.json"),
    )


def measured(final: Line | None, best: Line | None) -> dict[str, float]:
    """Return what a run is judged by, shares 0..1, by the names of a recipe's `reported`.

    >>> measured({"test_accuracy": 0.5, "train_accuracy": 0.75}, None)
    {'test accuracy, final': 0.5, 'train accuracy, final': 0.75}
    """
    figures = {
        "test accuracy, final": (final, "test_accuracy"),
        "test accuracy, best epoch": (best, "test_accuracy"),
        "train accuracy, final": (final, "train_accuracy"),
    }
    return {name: line[key] for name, (line, key) in figures.items() if line and key in line}


def default_config(record: RunRecord, recipe: Recipe) -> Mapping[str, Any]:
    """Return what the run's config would be without options, as JSON has it.

    That of the recipe's default variant where its own is no variant, as in a study.
    """
    variant = recipe.variants.get(record.variant, recipe.variants["default"])
    return json.loads(json.dumps(asdict(variant)))


def changed_options(record: RunRecord, recipe: Recipe) -> set[str]:
    """Return the names of the config that are not those of the variant's default."""
    default = default_config(record, recipe)
    return {
        name
        for name, value in record.config.items()
        if name not in default or value != default[name]
    }


def command(record: RunRecord, recipe: Recipe) -> str:
    """Return the command that makes the same run again, for a POSIX shell.

    A run on a stand-in names that as its data: it is repeated also where the recipe's own data
    can be had by then.
    """
    variant = record.variant if record.variant in recipe.variants else "default"
    words = ["python", "-m", record.module, "--variant", variant]
    for name in record.config:
        if name in changed_options(record, recipe) and not (name == "data" and record.stand_in):
            words += _option(name, record.config[name])
    if record.stand_in:
        words += _option("data", record.setup["data"])
    return shlex.join(words)


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option(name if value else f"no_{name}")]
    if isinstance(value, list):
        return [option(name), *map(str, value)]
    return [option(name), str(value)]


def _read_object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_lines(file: Path) -> tuple[tuple[Line, ...], int]:
    """Return the lines that are whole, and how many are not."""
    try:
        texts = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return (), 0
    lines = [line for line in map(_line, texts) if line is not None]
    return tuple(lines), len(texts) - len(lines)


def _line(text: str) -> Line | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    numbers = isinstance(line, dict) and all(
        isinstance(value, int | float) for value in line.values()
    )
    return line if numbers and isinstance(line.get("epoch"), int) else None
