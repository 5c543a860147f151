"""The record of a sweep, `sweep.json`: written after each run, read to continue the sweep."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fnet import files
from fnet.data.load import expanded
from fnet.files import write_atomically
from fnet.run.config import ConfigError
from fnet.run.directory import read_text
from fnet.run.loading import load_recipe, own_recipe
from fnet.run.origin import Origin
from fnet.run.schema import Line, config_from_json
from fnet.run.sweep.arms import Arm, Sweep, runs
from fnet.run.sweep.halving import Stopped
from fnet.run.typed_json import from_json, to_json
from fnet.run.write_errors import write_error

SWEEP, OLD_STUDY = "sweep.json", "study.json"


@dataclass(frozen=True)
class ArmRecord:
    """One of the trainings that a sweep compares.

    Attributes:
        label: what it differs in.
        reported: the original author's figure.
        recipe, recipe_checksum: its origin; see `Origin`.
        config: the config of all its runs; `seed` and `out` are those of each.
        values: the values of the swept options.
        runs: the names of the run directories that have completed an epoch, in order of the seeds.
        final, best: the lines of the last and of the best epoch of each of these.
    """

    label: str
    reported: str
    recipe: str
    recipe_checksum: str
    config: dict[str, Any]
    values: dict[str, Any]
    runs: tuple[str, ...]
    final: tuple[Line | None, ...]
    best: tuple[Line | None, ...]


@dataclass(frozen=True)
class SweepRecord:
    """The content of `sweep.json`.

    Attributes:
        question: the title.
        seeds: each arm is trained with each of these.
        halving: whether arms that lag are stopped.
        arms: the arms, and what they have reached.
        stopped: the arms that were stopped, when and why, in this order.
    """

    question: str
    seeds: tuple[int, ...]
    halving: bool
    arms: tuple[ArmRecord, ...]
    stopped: tuple[Stopped, ...]


def write_sweep(sweep: Sweep, stopped: list[Stopped], out: Path) -> Path:
    """Write `sweep.json`, with what the runs have reached; return the file.

    Raises:
        ConfigError: the file cannot be written.
    """
    record = SweepRecord(
        sweep.question,
        tuple(sweep.seeds),
        sweep.halving,
        tuple(_arm_record(arm, sweep, out) for arm in sweep.arms),
        tuple(stopped),
    )
    file = out / SWEEP
    text = files.dumps(to_json(record), indent=2) + "\n"
    try:
        write_atomically(file, text.encode())
    except OSError as error:
        advice = f", and continue with: {resume_command(out)}"
        raise ConfigError(write_error(f"write {file}", error.strerror, advice)) from error
    return file


def open_sweep(path: Path, recipe: str | None = None) -> tuple[Sweep, list[Stopped]]:
    """Return the sweep in a directory, and the arms that were stopped in it.

    Args:
        path: the directory of the sweep.
        recipe: the module or file of its recipe, if that is not in `recipes.*`.

    Raises:
        ConfigError: it is not a sweep, or its record is damaged or of another version.
    """
    path = expanded(path)
    file = path / SWEEP
    try:
        record = from_json(SweepRecord, files.loads(read_text(file).decode("utf-8")))
    except FileNotFoundError:
        raise ConfigError(_no_sweep(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(
            f"{file} is damaged or from another version of fnet ({error}): its runs can be "
            "opened, but the sweep cannot be continued"
        ) from error
    arms = [_arm(arm, path, recipe) for arm in record.arms]
    return Sweep(record.question, arms, record.seeds, record.halving), list(record.stopped)


def resume_command(out: Path) -> str:
    """Return the command that continues the sweep in this directory."""
    return f"python -m recipes.sweep --resume {shlex.quote(str(out))}"


def _arm_record(arm: Arm, sweep: Sweep, out: Path) -> ArmRecord:
    found = runs(arm, sweep.seeds, out)
    return ArmRecord(
        label=arm.label,
        reported=arm.reported,
        recipe=arm.recipe.origin.name,
        recipe_checksum=arm.recipe.origin.checksum,
        config=asdict(arm.config),
        values=dict(arm.values),
        runs=tuple(run.name for run in found),
        final=tuple(run.final for run in found),
        best=tuple(run.best for run in found),
    )


def _arm(arm: ArmRecord, path: Path, given: str | None) -> Arm:
    origin = Origin(arm.recipe, arm.recipe_checksum)
    recipe = load_recipe(given) if given else own_recipe(origin, path)
    config = config_from_json(type(recipe.variants["default"]), arm.config)
    return Arm(recipe, arm.label, config, arm.reported, arm.values)


def _no_sweep(path: Path) -> str:
    if (path / OLD_STUDY).exists():
        return (
            f"{path} is a study of an older version of fnet, which cannot be continued: its runs "
            "can be opened as any run; to train the missing ones, start the study again"
        )
    if path.is_dir():
        return f"{path} is not a sweep, it has no {SWEEP}: give the directory of a sweep"
    return f"there is no sweep {path}: give the directory that recipes.sweep has printed"
