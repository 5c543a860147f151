"""A study: several trainings that differ in one option, compared in a table and in one plot."""

import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from fnet import files
from fnet.data import steps_per_epoch
from fnet.files import write_atomically
from fnet.nn import ModelError
from fnet.run.config import Config, ConfigError
from fnet.run.outcome import TEST_BEST, TEST_FINAL, TRAIN_FINAL, Outcome, measured
from fnet.run.recipe import Recipe, build_experiment
from fnet.run.record import read_run
from fnet.run.runtime import resolve
from fnet.run.schema import ArmRecord, StudyRecord
from fnet.run.splits import Splits, open_splits
from fnet.run.train import train
from fnet.run.typed_json import to_json
from fnet.show import plots
from fnet.show.tables import MISSING
from fnet.show.terminal import Display

COLUMNS = ["", "reported", "test, final", "test, best epoch", "train, final", "runs"]

_OF_IMAGES = (
    *("data", "root", "size", "fit", "test", "seed", "skip_broken", "limit", "validation"),
)
"""The options that determine the images of a run."""


@dataclass(frozen=True)
class Arm:
    """One of the trainings that a study compares.

    Attributes:
        recipe: the recipe.
        label: the difference to the other arms, in a word or two.
        config: the options.
        reported: the original author's figure, if there is one.
    """

    recipe: Recipe
    label: str
    config: Config
    reported: str = MISSING


@dataclass(frozen=True)
class Study:
    """A question, and the arms that answer it."""

    question: str
    arms: Sequence[Arm]


@dataclass(frozen=True)
class ArmResult:
    """The runs of one arm, one for each seed."""

    arm: Arm
    outcomes: list[Outcome] = field(default_factory=list)

    def figures(self, name: str) -> list[float]:
        """Return one figure of every run that has it; the names are those of `measured`."""
        shares = [measured(outcome.final, outcome.best) for outcome in self.outcomes]
        return [share[name] for share in shares if name in share]


def check_arms(study: Study, overrides: dict[str, Any], display: Display) -> None:
    """Check all arms before the first one trains, which may take hours.

    Args:
        study: the study to check.
        overrides: as in `run_study`.
        display: shows how the data are loaded.

    Raises:
        ConfigError: an arm's options are out of their range, or do not fit each other or the data;
            there is no such device.
        DataError: the data are not available, or not as expected.
    """
    opened: dict[tuple[object, ...], Splits] = {}
    with display.live():
        for arm in study.arms:
            config = replace(arm.config, **overrides)
            config.validate()
            resolve(config.device)
            images = (arm.recipe.data, *(getattr(config, name) for name in _OF_IMAGES))
            if images not in opened:
                single = replace(config, batch_size=1)
                _, opened[images], _ = open_splits(arm.recipe.data, single, display)
            try:
                steps_per_epoch(len(opened[images].train), config.batch_size)
                build_experiment(arm.recipe, config, opened[images])
            except (ConfigError, ModelError, ValueError) as error:
                raise ConfigError(f"{arm.label!r} cannot be trained: {error}") from error


def run_study(
    results: Sequence[ArmResult],
    seeds: Sequence[int],
    overrides: dict[str, Any],
    out: Path,
    display: Display,
) -> int:
    """Train every arm with every seed, and return the exit code.

    The exit code is 0, or 128 + the signal number after a signal.

    Args:
        results: one for each arm. The outcome of a run is added as soon as the run ends, so it is
            not lost if a later run raises an error.
        seeds: the seeds of the runs of each arm.
        overrides: options that replace those of every arm ("epochs", "limit", ...).
        out: the directory for the runs, the plot and the table.
        display: shows the runs.

    Raises:
        CheckpointError, ConfigError, DataError, ModelError: as for `train`.
    """
    try:
        for seed in seeds:
            for result in results:
                config = replace(result.arm.config, seed=seed, out=str(out), **overrides)
                outcome = train(result.arm.recipe, result.arm.label, config, display)
                if outcome.final is not None:
                    result.outcomes.append(outcome)
                if outcome.signal is not None:
                    return outcome.exit_code
    except KeyboardInterrupt:  # between two runs; within a run, it is a request to stop
        return 128 + signal.SIGINT
    return 0


def rows(results: Sequence[ArmResult]) -> list[list[str]]:
    """Return one row for each arm, with the columns `COLUMNS`."""
    return [
        [
            result.arm.label,
            result.arm.reported,
            spread(result.figures(TEST_FINAL)),
            spread(result.figures(TEST_BEST)),
            spread(result.figures(TRAIN_FINAL)),
            str(len(result.outcomes)),
        ]
        for result in results
    ]


def spread(figures: Sequence[float]) -> str:
    """Return the mean in per cent and, for several figures, the minimum and the maximum.

    >>> spread([0.5]), spread([0.5, 0.6])
    ('50.0 %', '55.0 % (50.0 to 60.0)')
    """
    if not figures:
        return MISSING
    text = f"{mean(figures):.1%}".replace("%", " %")
    if len(figures) == 1:
        return text
    return f"{text} ({min(figures) * 100:.1f} to {max(figures) * 100:.1f})"


def save(study: Study, results: Sequence[ArmResult], out: Path) -> list[Path]:
    """Write `study.json` and a plot of each arm's mean curves over its seeds; return the files.

    Raises:
        ConfigError: a file cannot be written.
    """
    arms = tuple(
        ArmRecord(
            label=result.arm.label,
            reported=result.arm.reported,
            config=asdict(result.arm.config),
            runs=tuple(outcome.directory.name for outcome in result.outcomes),
            final=tuple(outcome.final for outcome in result.outcomes),
            best=tuple(outcome.best for outcome in result.outcomes),
        )
        for result in results
    )
    text = files.dumps(to_json(StudyRecord(study.question, arms)), indent=2) + "\n"
    file = out / "study.json"
    try:
        write_atomically(file, text.encode())
        curves = {result.arm.label: _mean_curve(result) for result in results if result.outcomes}
        drawn = plots.save(plots.curves(curves), out / "curves") if curves else []
    except OSError as error:
        raise ConfigError(f"cannot write to --out {out}: {error.strerror}") from error
    return [file, *drawn]


def _mean_curve(result: ArmResult) -> list[dict[str, float]]:
    runs = [read_run(outcome.directory).curves for outcome in result.outcomes]
    # An interrupted run is shorter: the mean ends with the shortest run.
    return [
        {name: mean([line[name] for line in lines]) for name in lines[0]}
        for lines in zip(*runs, strict=False)
    ]
