"""Arms and members of a sweep: what is trained, and what it has reached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from fnet.data import steps_per_epoch
from fnet.nn import ModelError
from fnet.run.config import Config, ConfigError
from fnet.run.directory import directories_of
from fnet.run.outcome import Outcome, measured
from fnet.run.recipe import Recipe, build_experiment
from fnet.run.record import RunRecord, read_run
from fnet.run.runtime import resolve
from fnet.run.schema import Line, config_from_json
from fnet.run.splits import Splits, open_splits
from fnet.run.train import resume, run_name, train
from fnet.show.tables import MISSING
from fnet.show.terminal import Display

_OF_IMAGES = (
    *("data", "root", "size", "fit", "test", "seed", "skip_broken", "limit", "validation"),
)
"""The options that determine the images of a run."""


@dataclass(frozen=True)
class Arm:
    """One of the trainings that a sweep compares.

    Attributes:
        recipe: the recipe.
        label: the difference to the other arms, in a word or two.
        config: the options; `seed` and `out` are those of each member.
        reported: the original author's figure, if there is one.
        values: the values of the swept options, by the name of the config's field.
    """

    recipe: Recipe
    label: str
    config: Config
    reported: str = MISSING
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """A question, and the arms that answer it.

    Attributes:
        question: the title of the table.
        arms: the trainings to compare; their labels differ.
        seeds: each arm is trained with each of these.
        halving: whether arms that lag are stopped early; see `fnet.run.sweep.halving`.
    """

    question: str
    arms: Sequence[Arm]
    seeds: Sequence[int] = (0,)
    halving: bool = False

    def members(self, arms: Sequence[Arm] | None = None) -> list["Member"]:
        """Return the members of some arms (default: all) in the order of training, by seed."""
        return [
            Member(arm, seed)
            for seed in self.seeds
            for arm in (self.arms if arms is None else arms)
        ]


class Reached(Protocol):
    """What is known of a run: an `Outcome`, or a `RunRecord`."""

    @property
    def data(self) -> str:
        """The name of the data set."""

    @property
    def final(self) -> Line | None:
        """The line of the last complete epoch."""

    @property
    def best(self) -> Line | None:
        """The line of the best epoch."""


@dataclass(frozen=True)
class ArmResult:
    """The runs of one arm, one for each seed that has begun."""

    arm: Arm
    outcomes: Sequence[Reached] = ()

    def figures(self, name: str) -> list[float]:
        """Return one figure of every run that has it; the names are those of `measured`."""
        shares = [measured(outcome.final, outcome.best) for outcome in self.outcomes]
        return [share[name] for share in shares if name in share]


@dataclass(frozen=True)
class Member:
    """An arm with a seed: one run."""

    arm: Arm
    seed: int

    @property
    def label(self) -> str:
        """The arm and the seed, for people."""
        return f"{self.arm.label}, seed {self.seed}"

    def record(self, out: Path) -> RunRecord | None:
        """Return the record of the run, None if there is none that can be continued.

        Args:
            out: the directory of the sweep.
        """
        return self._found(out)[0]

    def _found(self, out: Path) -> tuple[RunRecord | None, list[str]]:
        """Return the record, and why later directories of the member are not continued."""
        name = run_name(self.arm.recipe, self.arm.label, self.seed)
        reasons = []
        for path in reversed(directories_of(out, name)):
            try:
                record = read_run(path)
            except ConfigError as error:
                reasons.append(str(error))
                continue
            if record.begun:
                return record, reasons
            reasons.append(f"{path} was stopped before its first step")
        return None, reasons

    def advance(self, out: Path, display: Display, until: int | None = None) -> Outcome | RunRecord:
        """Train the member to its end, or until an epoch is complete; redo nothing.

        The run is begun, continued from its last checkpoint, or left as it is if it has got there.

        Args:
            out: the directory of the sweep.
            display: shows the run.
            until: stop after this epoch with a checkpoint; None: train to the end.

        Raises:
            CheckpointError, ConfigError, DataError, ModelError: as for `train`.
        """
        arm, (record, reasons) = self.arm, self._found(out)
        for reason in reasons:
            display.say(f"Not continued: {reason}")
        if record is None:
            config = replace(arm.config, seed=self.seed, out=str(out))
            return train(arm.recipe, arm.label, config, display, until=until)
        if has_ended(record) or (until is not None and len(record.lines) >= until):
            return record
        config = config_from_json(type(arm.config), record.config)
        return resume(arm.recipe, record.path, config, display, until=until)


def has_ended(record: RunRecord) -> bool:
    """Return whether there is nothing left to train in a run."""
    return record.status in ("complete", "stopped at target", "diverged")


def results(sweep: Sweep, out: Path) -> list[ArmResult]:
    """Return what each arm has reached, read from the run directories."""
    return [ArmResult(arm, runs(arm, sweep.seeds, out)) for arm in sweep.arms]


def runs(arm: Arm, seeds: Sequence[int], out: Path) -> list[RunRecord]:
    """Return the records of an arm's runs that have completed an epoch."""
    records = [Member(arm, seed).record(out) for seed in seeds]
    return [record for record in records if record is not None and record.lines]


def check_arms(sweep: Sweep, display: Display) -> None:
    """Check all arms before the first one trains, which may take hours.

    Args:
        sweep: the sweep to check.
        display: shows how the data are loaded.

    Raises:
        ConfigError: an arm's options are out of their range, or do not fit each other or the data;
            there is no such device.
        DataError: the data are not available, or not as expected.
    """
    opened: dict[tuple[object, ...], Splits] = {}
    with display.live():
        for arm in sweep.arms:
            config = arm.config
            for seed in sweep.seeds:
                replace(config, seed=seed).validate()
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
