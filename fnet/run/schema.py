"""The schemas of a run's files: its setup, the figures of an epoch, its result, a note."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Literal

from fnet.data import Normalize, PadResize, Preprocess
from fnet.run.config import Config, ConfigError
from fnet.run.origin import Origin
from fnet.run.typed_json import from_json

Status = Literal["complete", "stopped at target", "interrupted", "diverged"]

MAX_EPOCHS, MAX_IMAGES, MAX_SIDE, MAX_VALUES = 10**9, 10**12, 2**16, 2**28
"""Bounds on what a run's files may say: beyond any run, and within what a computer can count."""


@dataclass(frozen=True)
class Setup:
    """What a run is: `config.json`.

    Attributes:
        recipe: the module of its recipe, or the path of its file; see `Origin`.
        variant: the recipe's variant, or what a study calls the run.
        config: the complete config; see `config_from_json`.
        data: the name of the data set.
        data_checksum: of all images and labels, see `Splits.checksum`.
        stand_in: whether the data stand in for the recipe's own.
        train_images: how many images it is trained on.
        test_images: how many it is tested on.
        classes: their names, in the order of the logits.
        input_shape: (C, H, W) of the images.
        preprocess: see `preprocess_to_json`.
        inexact: what makes it, resumed, another run than one that was never stopped.
        recipe_checksum: of the recipe's file; empty for a module, and in older records.
    """

    recipe: str
    variant: str
    config: dict[str, Any]
    data: str
    data_checksum: str
    stand_in: bool
    train_images: int
    test_images: int
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    preprocess: Any
    inexact: tuple[str, ...]
    recipe_checksum: str = ""

    @property
    def origin(self) -> Origin:
        """Where the recipe lives, as recorded."""
        return Origin(self.recipe, self.recipe_checksum)

    def __post_init__(self) -> None:
        for name in ("train_images", "test_images"):
            _require(name, getattr(self, name), 1 <= getattr(self, name) <= MAX_IMAGES)
        _require("classes", self.classes, bool(self.classes))
        possible = all(1 <= side <= MAX_SIDE for side in self.input_shape)
        possible = possible and math.prod(self.input_shape) <= MAX_VALUES
        _require("input_shape", self.input_shape, possible)


@dataclass(frozen=True, kw_only=True)
class Line:
    """The figures of one epoch: a line of `metrics.jsonl`.

    Attributes:
        epoch: which one, counted from 1.
        step: the last of it.
        train_loss, train_accuracy: means over its steps.
        test_loss, test_accuracy: on the test images, after it.
        validation_loss, validation_accuracy: on the images held out, where there are some.
        learning_rate: of its last step.
        seconds: how long it took.
        images_per_second: in training, without the first step.
        skipped_steps: how many were left out, with `--on-nonfinite skip`.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    learning_rate: float
    seconds: float
    images_per_second: float
    skipped_steps: int | None = None

    def __post_init__(self) -> None:
        _require("epoch", self.epoch, 1 <= self.epoch <= MAX_EPOCHS)

    @property
    def evaluated_accuracy(self) -> float:
        """The accuracy that the run is judged by: on its validation images, or the test images."""
        held_out = self.validation_accuracy
        return self.test_accuracy if held_out is None else held_out

    def figures(self) -> dict[str, float]:
        """Return the figures that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def best_line(lines: Sequence[Line]) -> Line | None:
    """Return the line of the best epoch: the one rule, in training and of what is on disk.

    Its accuracy on the validation images is the highest, or without such on the test images; of
    equal ones it is the first.
    """

    def accuracy(line: Line) -> float:
        value = line.evaluated_accuracy
        return -math.inf if math.isnan(value) else value

    return max(lines, key=accuracy, default=None)


@dataclass(frozen=True)
class Result:
    """How a run ended: `result.json`.

    Attributes:
        status: "complete", "stopped at target", "interrupted" by a signal, or "diverged" to numbers
            not finite.
        step: after which step.
        data: the name of the data set.
        stand_in: whether that stands in for the recipe's own.
        final: the line of the last whole epoch, None if there is none.
        best: that of the best epoch.
        reported: the original author's figures, by name.
        reason: of one that diverged.
        seconds_to_accuracy: after how many seconds of the run each accuracy, in per cent, was first
            reached; see `fnet.run.time_to_accuracy`. Empty in older records.
    """

    status: Status
    step: int
    data: str
    stand_in: bool
    final: Line | None
    best: Line | None
    reported: dict[str, str]
    reason: str = ""
    seconds_to_accuracy: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """What a checkpoint holds beside the tensors.

    Attributes:
        sums: of the metrics in an epoch that has no line yet.
        lines: of the whole epochs.
        best: the best of these, counted from 1; None before the first ends.
        seconds: for how long the epoch has gone on.
    """

    sums: dict[str, float]
    lines: tuple[Line, ...]
    best: int | None
    seconds: float

    def __post_init__(self) -> None:
        epochs = [line.epoch for line in self.lines]
        _require("lines", epochs, epochs == list(range(1, len(epochs) + 1)))
        best = best_line(self.lines)
        _require("best", self.best, self.best == (best.epoch if best else None))


def config_from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return the config that `dataclasses.asdict` and JSON have made these values of.

    Args:
        kind: the recipe's `Config`.
        values: its fields; lists become tuples again. One that is missing, because it is newer than
            the run, has its default.

    Raises:
        ConfigError: a field is unknown, or its value is not of its type.

    >>> config_from_json(Config, asdict(Config(epochs=3))).epochs
    3
    """
    try:
        return from_json(kind, values)
    except ValueError as error:
        raise ConfigError(
            f"the run's config {error}: it was made with another version; open it with that "
            "version, or train again"
        ) from error


def preprocess_to_json(preprocess: Preprocess) -> Any:
    """Return what `preprocess_from_json` makes the preprocess of again, or at least its name."""
    if is_dataclass(preprocess) and not isinstance(preprocess, type):
        return asdict(preprocess)
    return repr(preprocess)


def preprocess_from_json(values: Any, built: Preprocess) -> Preprocess:
    """Return the recorded preprocess: what the recipe builds, or one of fnet's.

    Args:
        values: as `preprocess_to_json` gave them; of one that is only named, `built` is taken.
        built: what the recipe builds by now; it may be of a class of the user's own.

    Raises:
        ValueError: it is neither.

    >>> from fnet.data import NORM_HALF
    >>> preprocess_from_json(preprocess_to_json(PadResize(4, NORM_HALF)), NORM_HALF).padding
    4
    """
    if not isinstance(values, dict) or _tuples(preprocess_to_json(built)) == _tuples(values):
        return built
    kind: type[PadResize] | type[Normalize] = PadResize if "then" in values else Normalize
    return from_json(kind, values)


def _tuples(value: Any) -> Any:
    """Return a JSON value with tuples for lists, as a frozen dataclass has them."""
    if isinstance(value, list | tuple):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return value


def _require(name: str, value: object, possible: bool) -> None:
    if not possible:
        raise ValueError(f"has {reprlib.repr(value)} for {name!r}, which cannot be")
